"""API operations on proofs: some photos of a paused batch, restored with several recipes before all of it is."""

from typing import Final
from uuid import UUID

from flask import g
from sqlalchemy.orm import Session

from retint import proofs, tables
from retint.proofs import Column
from retint.recipes import Recipe
from retint.roles import Scope
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, portal_url
from retint_web.api.trials import make_try

BEGUN: Final = {409: "The batch is not paused, something of it has begun, or it has no such proof, or another one."}


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/proof",
    responses.Proof,
    status=201,
    body=requests.NewProof,
    scope=Scope.DEPOSIT,
    errors=BEGUN,
)
def open_proof(batch_id: UUID, body: requests.NewProof) -> responses.Proof:
    """Prove a paused batch of which nothing has begun; asked again with the same recipes, it is the same proof."""
    tenant_id, imported = g.identity.tenant_id, services().settings.weights
    with services().begin() as session:
        batch = get_owned(session, tables.Batch, tenant_id, batch_id)
        wanted = body.recipes or proofs.suggest_recipes(Recipe.model_validate(batch.recipe), imported)
        proofs.open(session, tenant_id, batch_id, wanted, created_by=g.identity.user_id, imported=imported)
        return _proof(session, batch_id)


@api.operation("GET", "/batches/<uuid:batch_id>/proof", responses.Proof, scope=Scope.READ)
def show_proof(batch_id: UUID) -> responses.Proof:
    """Get a batch's proof, its results, and what the whole batch will take; without columns where there is none."""
    with services().read() as session:
        return _proof(session, batch_id)


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/proof/release",
    responses.Proof,
    body=requests.Release,
    scope=Scope.DEPOSIT,
    errors=BEGUN,
)
def release_batch(batch_id: UUID, body: requests.Release) -> responses.Proof:
    """Resume a batch with a recipe of its proof, whose results are taken over."""
    with services().begin() as session:
        proofs.release(session, g.identity.tenant_id, batch_id, body.recipe_hash)
        return _proof(session, batch_id)


@api.operation("POST", "/batches/<uuid:batch_id>/proof/discard", responses.Proof, scope=Scope.DEPOSIT, errors=BEGUN)
def discard_proof(batch_id: UUID) -> responses.Proof:
    """Cancel what is left of a batch's proof, so that another one can be opened."""
    with services().begin() as session:
        proofs.discard(session, g.identity.tenant_id, batch_id)
        return _proof(session, batch_id)


def _proof(session: Session, batch_id: UUID) -> responses.Proof:
    session.expire_all()  # a release changes rows behind the session's back
    proof = proofs.load(session, g.identity.tenant_id, batch_id)
    return responses.Proof(
        batch_id=batch_id,
        url=f"{portal_url()}/batches/{batch_id}/proof",
        photos=proof.photos,
        is_over=proof.is_over,
        can_begin=proof.can_begin,
        columns=[_column(column) for column in proof.columns],
    )


def _column(column: Column) -> responses.ProofColumn:
    estimate = column.estimate
    return responses.ProofColumn(
        recipe=column.recipe,
        recipe_hash=column.recipe.hash,
        tries=[make_try(each) for each in column.tries],
        photo_s=estimate and estimate.photo_s,
        total_s=estimate and estimate.total_s,
        wall_s=estimate and estimate.wall_s,
    )
