"""What operators see of the sweep of the store."""

from collections.abc import Callable

from sqlalchemy import delete, update
from tests.integration.web.conftest import Person

from retint.columns import now
from retint.roles import Role
from retint.services import Services
from retint.store_tables import Sweep
from retint.sweeps import Kept

MakePerson = Callable[..., Person]


def test_operators_see_the_sweep_and_why_it_stopped(services: Services, admin: Person) -> None:
    browser = admin.browser()
    assert "It has not run yet." in browser.get("/admin/live").text
    kept = {Kept.NAMED: 2000, Kept.UNKNOWN_ORIGINAL: 3, Kept.UNFINISHED: 1}
    with services.begin() as session:
        session.add(Sweep(id=1, started_at=now(-7200.0), looked_at=2010, deleted=1, kept=kept))
    page = browser.get("/admin/live").text
    assert "The round that began 2 h ago looked at 2,010 files and deleted 1 orphan." in page
    assert "3 files kept: originals without a row in the database, never deleted." in page
    assert page.count(" kept: ") == 1
    with services.begin() as session:
        session.execute(
            update(Sweep).values(started_at=None, stopped="Files of <3> of 5 jobs …", stopped_code="too_many")
        )
    assert "It has stopped. Files of &lt;3&gt; of 5 jobs …" in browser.get("/admin/").text
    with services.begin() as session:
        session.execute(delete(Sweep))
    assert browser.get("/admin/").status_code == 200


def test_other_administrators_do_not(services: Services, make_person: MakePerson) -> None:
    make_person(role=Role.ADMIN)
    second = make_person("archive", Role.ADMIN, is_operator=False)
    assert "Sweep" not in second.browser().get("/admin/").text
