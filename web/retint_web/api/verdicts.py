"""API operations of review: results by verdict, verdicts, rework, running photos again."""

from typing import Final
from uuid import UUID

from flask import g

from retint import recipes, verdicts
from retint.jobs import long_moves
from retint.jobs.long_moves import Selection
from retint.lifecycle import State
from retint.roles import Role, Scope
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, job_url, next_cursor

CHANGED: Final = {409: "The result or its verdict is another one by now, or there is no result."}


@api.operation(
    "GET",
    "/batches/<uuid:batch_id>/results",
    responses.Page[responses.Result],
    query=requests.ResultsQuery,
    scope=Scope.READ,
)
def list_results(batch_id: UUID, query: requests.ResultsQuery) -> responses.Page[responses.Result]:
    """List a batch's results with one verdict, the riskiest first."""
    with services().read() as session:
        found = verdicts.list_page(
            session, g.identity.tenant_id, batch_id, query.verdict, after=query.after, limit=query.limit
        )
    items = [_result(each) for each in found]
    return responses.Page(items=items, next=next_cursor(items, query.limit))


@api.operation(
    "PUT",
    "/jobs/<uuid:job_id>/verdict",
    responses.Result,
    body=requests.NewVerdict,
    roles=(Role.REVIEWER,),
    scope=Scope.REVIEW,
    errors=CHANGED,
)
def judge(job_id: UUID, body: requests.NewVerdict) -> responses.Result:
    """Judge a job's result. An approved result is the only one of its file."""
    tenant_id = g.identity.tenant_id
    with services().begin() as session:
        verdicts.judge(session, tenant_id, job_id, **dict(body), by=g.identity.user_id)
        [judged] = verdicts.load(session, tenant_id, [job_id])
    return _result(judged)


@api.operation(
    "POST",
    "/jobs/<uuid:job_id>/rework",
    responses.Replacing,
    status=201,
    body=requests.Rework,
    roles=(Role.REVIEWER,),
    scope=Scope.REVIEW,
    errors=CHANGED,
)
def rework(job_id: UUID, body: requests.Rework) -> responses.Replacing:
    """Let a result be made anew: a new job takes its place, whose result is to be judged again."""
    if body.recipe is not None:
        recipes.check(body.recipe, services().settings.weights)
    with services().begin() as session:
        new = verdicts.rework(session, g.identity.tenant_id, job_id, **dict(body), by=g.identity.user_id)
    return responses.Replacing(id=new.id, name=new.name, replaces=job_id, url=job_url(new.id))


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/again",
    responses.RunAgain,
    body=requests.Rerun,
    scope=Scope.DEPOSIT,
    errors={409: "Photos of this batch are being run again already, or it was cancelled."},
)
def run_again(batch_id: UUID, body: requests.Rerun) -> responses.RunAgain:
    """Run photos of a batch again: new jobs take the places of those that have ended, whose results stay."""
    if body.recipe is not None:
        recipes.check(body.recipe, services().settings.weights)
    chosen = Selection(body.state and State(body.state), body.verdict, body.reason_code)
    with services().begin() as session:
        move_id = long_moves.run_again(session, g.identity.tenant_id, batch_id, chosen, body.recipe)
    move = long_moves.carry_out(services(), move_id)
    return responses.RunAgain(replaced=move.moved, complete=move.ended_at is not None)


def _result(result: verdicts.Result) -> responses.Result:
    said = result.said
    return responses.Result(
        id=result.job_id,
        name=result.name,
        url=job_url(result.job_id),
        sha256=result.sha256,
        verdict=result.verdict,
        risk=result.risk,
        remark=result.remark,
        note=said and said.note,
        judged_by=said and said.by,
        judged_at=said and said.at,
    )
