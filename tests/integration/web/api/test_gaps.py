"""What once only the pages could do: a program can do it, too."""

import pytest
from tests.integration.web.conftest import Person

from retint.services import Services
from retint.store_tables import Sweep

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


def test_a_catalogue_is_checked_file_by_file_before_it_is_imported(member: Person) -> None:
    batch_id = member.open_batch()
    member.deposit(batch_id, "a.jpg")
    path = f"/batches/{batch_id}/catalogue/unmatched.csv"
    told = member.api("POST", path, data=b"filename,title\nz.jpg,Zoo\n", content_type="text/csv")
    assert told.text.splitlines() == ["problem,row,file,identifier", "no file,2,z.jpg,", "no record,,a.jpg,"]
    assert "z.jpg" not in member.api("GET", path).text, "nothing was imported"


def test_an_operator_sees_why_the_sweep_waits(operator: Person, services: Services) -> None:
    assert operator.api("GET", "/sweep").json["started_at"] is None
    with services.begin() as session:
        sweep = session.get(Sweep, 1) or Sweep(id=1)
        sweep.looked_at, sweep.deleted, sweep.kept = 7, 2, {"named": 5}
        sweep.stopped_code, sweep.stopped = "too_many", "Too many files would go."
        session.add(sweep)
    seen = operator.api("GET", "/sweep").json
    assert (seen["looked_at"], seen["kept"], seen["stopped"]) == (7, {"named": 5}, "Too many files would go.")
