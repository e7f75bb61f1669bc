"""The zoom of a result: tiles for looking at it closely. A worker makes it when somebody first asks for it.

It is made of the result alone, and its key follows from the result's. So no row says whether there is one: the store
does. Made twice it is the same, lost it is made again; the sweep keeps it as long as a row names the result.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from retint import withholding
from retint.errors import NotFound
from retint.jobs import attempts
from retint.lifecycle import Stage
from retint.pages import list_photographs
from retint.stores import BlobStore, keys
from retint.tables import Job
from retint.tenancy import get_owned


@dataclass(frozen=True)
class Zoom:
    """Where the zoom of a result's page lies, or will lie, and what it is made of.

    Attributes:
        page: number of the page in the original, from 1.
        index: which of the result's photographs the page is, from 0.
        result: key of the result.
        key: the zoom's own.
    """

    page: int
    index: int
    result: str
    key: str

    def is_made(self, store: BlobStore) -> bool:
        """Whether it is in the store.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        try:
            store.size(self.key)
        except NotFound:
            return False
        return True


def find(session: Session, tenant_id: UUID, job_id: UUID, number: int | None = None) -> Zoom:
    """Find where the zoom of a result lies or will lie: of one of its pages, by default of the first photograph.

    Raises:
        NotFound: there is no such job or page, it has no result, or one that shows no more than its preview.
        Withheld: the catalogue forbids its colors.
    """
    withholding.check(get_owned(session, Job, tenant_id, job_id), "result")
    files, facts, _ = attempts.read_done(session, [job_id])
    result = files.get(job_id, {}).get("result")
    for index, page in enumerate(list_photographs(facts.get(job_id, {}).get(Stage.INGEST, {}))):
        if page.number == number or (number is None and page.is_first):
            if result is None or not page.can_be_zoomed:
                break
            return Zoom(page.number, index, result, keys.zoom(result, page.spell("zoom")))
    raise NotFound("There is nothing to zoom into: no result that is larger than its preview.", code="no_zoom")
