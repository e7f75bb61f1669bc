"""Verdicts: what reviewers say of results. Bound to a result's SHA-256, beside the job's state and never part of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, select, text, tuple_, update
from sqlalchemy.orm import Session, aliased

from retint import audit, chains, records
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest
from retint.jobs import changes
from retint.lifecycle import Outcome, Stage, State, Verdict
from retint.recipes import Recipe
from retint.tables import IS_RESULT, Attempt, Batch, Job, Judgement, User
from retint.tenancy import get_owned

NOTE_LENGTH: Final = 2000
"""Most characters of a note."""
ANOTHER_APPROVED: Final = "A newer result of this file was approved."


@dataclass(frozen=True)
class Said:
    """What somebody said of a result."""

    verdict: Verdict
    note: str | None
    by: str | None
    """The person's email address."""
    at: datetime


@dataclass(frozen=True)
class Result:
    """A result as a reviewer looks at it."""

    job_id: UUID
    name: str
    sha256: str
    verdict: Verdict
    risk: float | None
    """0 to 1; None where nothing is known."""
    remark: str | None
    """A sentence that people must read, such as that it has no color."""
    is_film: bool
    width: int
    height: int
    """Of the upright original, in pixels; of a film of a frame; 0 where it is unknown."""
    said: Said | None
    """The newest that was said of it."""


def judge(
    session: Session,
    tenant_id: UUID,
    job_id: UUID,
    verdict: Verdict,
    *,
    seen_sha256: str,
    seen_verdict: Verdict,
    note: str | None = None,
    by: UUID | None = None,
) -> None:
    """Write a verdict on the result of a job; `unjudged` takes the last one back.

    An approved result is the only one of its deposited file: an earlier one in the chain is unjudged again.

    Args:
        session: the transaction.
        tenant_id: the tenant.
        job_id: whose result it is.
        verdict: approved, rejected or unjudged; see `rework`.
        seen_sha256: SHA-256 of the result that the reviewer looked at.
        seen_verdict: the verdict that the reviewer saw on it.
        note: any words; at most `NOTE_LENGTH` characters.
        by: the reviewer.

    Raises:
        NotFound: no such job.
        IllegalMove: it has no result, or another one than was looked at, or somebody else has judged it meanwhile.
        InvalidRequest: the note is too long, or the verdict is rework.
    """
    if verdict is Verdict.REWORK:
        raise InvalidRequest("Rework needs a recipe.", code="no_recipe")
    _judge(session, tenant_id, job_id, verdict, Judgement(note=_clean_note(note), by=by), seen_sha256, seen_verdict)
    if verdict is Verdict.APPROVED:
        _take_back_earlier(session, tenant_id, job_id, by)


def rework(
    session: Session,
    tenant_id: UUID,
    job_id: UUID,
    recipe: Recipe | None,
    *,
    seen_sha256: str,
    seen_verdict: Verdict,
    note: str | None = None,
    by: UUID | None = None,
) -> Job:
    """Let a result be made anew: a new job takes its place, which is unjudged; see `judge` and `changes.replace_job`.

    Raises:
        NotFound: no such job.
        IllegalMove: as `judge`; or the batch is cancelled.
        InvalidRequest: the note is too long, or the catalogue forbids the colors that the recipe asks for.
    """
    said = Judgement(note=_clean_note(note), by=by)
    if recipe is not None and recipe.colorizer != "keep":
        _refuse_forbidden_colors(session, get_owned(session, Job, tenant_id, job_id))
    _judge(session, tenant_id, job_id, Verdict.REWORK, said, seen_sha256, seen_verdict)
    return changes.replace_job(session, tenant_id, job_id, recipe)


def _refuse_forbidden_colors(session: Session, job: Job) -> None:
    if records.find_forbidden(session, session.get_one(Batch, job.batch_id), [job.name]):
        message = "The catalogue says that this photo is not to be colorized. Choose no color, or change the catalogue."
        raise InvalidRequest(message, code="do_not_colorize")


def _judge(
    session: Session,
    tenant_id: UUID,
    job_id: UUID,
    verdict: Verdict,
    said: Judgement,
    seen_sha256: str,
    seen_verdict: Verdict,
) -> None:
    job = get_owned(session, Job, tenant_id, job_id)
    result = _find_sha256(session, job_id) if job.state is State.RESTORED else None
    if result is None:
        raise IllegalMove(f"This photo is {job.state}: there is no result to judge yet.", code="no_result")
    is_seen = and_(Job.verdict == seen_verdict, Job.replaced_by.is_(None))
    changed = session.scalar(
        update(Job).where(Job.id == job_id, is_seen).values(verdict=verdict).returning(Job.id),
        execution_options=NO_SYNC,
    )
    if changed is None or result != seen_sha256:
        session.refresh(job)
        raise _explain_conflict(session, job, is_other=result != seen_sha256)
    said.tenant_id, said.job_id, said.result_sha256, said.verdict = tenant_id, job_id, result, verdict
    session.add(said)
    action = "job_reworked" if verdict is Verdict.REWORK else "job_judged"
    before, after = {"verdict": seen_verdict}, {"verdict": verdict, "result": result}
    audit.record(session, action, job_id, tenant_id=tenant_id, before=before, after=after)
    session.flush()


def _explain_conflict(session: Session, job: Job, *, is_other: bool) -> IllegalMove:
    if job.replaced_by is not None:
        message = "This photo was made anew meanwhile: look at its newer result. Your verdict was not written."
        return IllegalMove(message, code="replaced")
    if is_other:
        message = "This is another result than the one that was looked at. Look at it again."
        return IllegalMove(message, code="other_result")
    newest = load_said(session, [job.id]).get(job.id)
    who = newest.by if newest and newest.by else "Somebody"
    words = {Verdict.UNJUDGED: "took the verdict on this photo back", Verdict.REWORK: "sent this photo to rework"}
    did = words.get(job.verdict, f"{job.verdict} this photo")
    ago = "" if newest is None else f" at {newest.at:%H:%M:%S} UTC"
    return IllegalMove(f"{who} {did}{ago}. Your verdict was not written.", code="judged_meanwhile")


def _take_back_earlier(session: Session, tenant_id: UUID, job_id: UUID, by: UUID | None) -> None:
    """Take the approval of earlier results of the same file back."""
    earlier = {link.job_id: link for link in chains.load_earlier(session, [job_id]).get(job_id, [])}
    if not earlier:
        return
    taken = session.scalars(
        update(Job)
        .where(Job.id.in_(earlier), Job.verdict == Verdict.APPROVED)
        .values(verdict=Verdict.UNJUDGED)
        .returning(Job.id),
        execution_options=NO_SYNC,
    )
    for each in taken:
        session.add(
            Judgement(
                tenant_id=tenant_id,
                job_id=each,
                result_sha256=earlier[each].result_sha256 or "",
                verdict=Verdict.UNJUDGED,
                note=ANOTHER_APPROVED,
                by=by,
            )
        )


def _clean_note(note: str | None) -> str | None:
    note = (note or "").replace("\0", "").strip()
    if len(note) > NOTE_LENGTH:
        raise InvalidRequest(f"A note has at most {NOTE_LENGTH} characters.", code="long_note")
    return note or None


def list_page(
    session: Session, tenant_id: UUID, batch_id: UUID, verdict: Verdict, *, after: UUID | None = None, limit: int = 24
) -> list[Result]:
    """List a batch's results with a verdict, the riskiest first, those of unknown risk last; after the job `after`.

    Raises:
        NotFound: no such batch, or no such job `after`.
    """
    get_owned(session, Batch, tenant_id, batch_id)
    chosen = (text(IS_RESULT), Job.batch_id == batch_id, Job.verdict == verdict)
    known = select(Job.id).where(*chosen, Job.risk.is_not(None)).order_by(Job.risk.desc(), Job.id.desc())
    unknown = select(Job.id).where(*chosen, Job.risk.is_(None)).order_by(Job.risk, Job.id)
    last = None if after is None else get_owned(session, Job, tenant_id, after)
    job_ids: list[UUID] = []
    if last is None or last.risk is not None:
        if last is not None:
            known = known.where(tuple_(Job.risk, Job.id) < tuple_(last.risk, last.id))
        job_ids += session.scalars(known.limit(limit))
    elif last is not None:
        unknown = unknown.where(Job.id > last.id)
    if len(job_ids) < limit:
        job_ids += session.scalars(unknown.limit(limit - len(job_ids)))
    return load(session, tenant_id, job_ids)


def load(session: Session, tenant_id: UUID, job_ids: Sequence[UUID]) -> list[Result]:
    """Load the results of these jobs, in this order; a job without a result, or that is replaced, is left out."""
    chosen = (Job.tenant_id == tenant_id, Job.id.in_(job_ids), Job.replaced_by.is_(None))
    found = {row.id: row for row in session.execute(_select_results(*chosen))}
    said = load_said(session, found)
    return [_make_result(found[job_id], said.get(job_id)) for job_id in job_ids if job_id in found]


def load_said(session: Session, job_ids: Iterable[UUID]) -> dict[UUID, Said]:
    """Load the newest that was said of the results of these jobs, by job."""
    wanted = list(job_ids)
    if not wanted:
        return {}
    rows = session.execute(
        select(Judgement.job_id, Judgement.verdict, Judgement.note, User.email, Judgement.at)
        .outerjoin(User, User.id == Judgement.by)
        .where(Judgement.job_id.in_(wanted))
        .order_by(Judgement.at, Judgement.id)
    )
    return {row.job_id: Said(row.verdict, row.note, row.email, row.at) for row in rows}


def _find_sha256(session: Session, job_id: UUID) -> str | None:
    done = (Attempt.job_id == job_id, Attempt.stage == Stage.RENDER, Attempt.outcome == Outcome.DONE)
    return session.scalar(select(Attempt.facts["sha256"].as_string()).where(*done))


def _select_results(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    rendered, ingested = aliased(Attempt), aliased(Attempt)

    def is_done(attempt: type[Attempt], stage: Stage) -> ColumnElement[bool]:
        return and_(attempt.job_id == Job.id, attempt.stage == stage, attempt.outcome == Outcome.DONE)

    return (
        select(Job.id, Job.name, Job.verdict, Job.risk, rendered.facts.label("made"), ingested.facts.label("found"))
        .join(rendered, is_done(rendered, Stage.RENDER))
        .outerjoin(ingested, is_done(ingested, Stage.INGEST))
        .where(Job.state == State.RESTORED, *conditions)
    )


def _make_result(row: Any, said: Said | None) -> Result:
    found = row.found or {}
    return Result(
        job_id=row.id,
        name=row.name,
        sha256=row.made.get("sha256", ""),
        verdict=row.verdict,
        risk=row.risk,
        remark=row.made.get("colorless"),
        is_film=bool(found.get("film")),
        width=int(found.get("width") or 0),
        height=int(found.get("height") or 0),
        said=said,
    )
