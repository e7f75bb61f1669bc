"""What a real worker writes of how a result was made, and what that is good for."""

import shutil
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from tests.integration.conftest import Site
from tests.integration.workers.queue import sites

from retint import recipes
from retint.jobs import takeovers
from retint.lifecycle import Stage, State
from retint.services import Services
from retint.tables import Batch
from retint_models.weights.cards import read_cards
from retint_workers.queue import stages


@pytest.fixture
def services(sqlite_site: Site, tmp_path: Path) -> Services:
    """Services with a folder of imported weights of their own."""
    (tmp_path / "weights").mkdir()
    settings = sqlite_site.settings.model_copy(update={"weights": tmp_path / "weights"})
    sqlite_site.services = Services.connect(settings)
    return sqlite_site.services


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    gray = np.random.default_rng(1).integers(60, 200, (8, 8), dtype=np.uint8)
    Image.fromarray(gray).resize((320, 320), Image.Resampling.BICUBIC).save(tmp_path / "aunt.png")
    return tmp_path / "aunt.png"


def run(services: Services, job_id: UUID, *wanted: Stage) -> None:
    for stage in wanted:
        sites.run_bundle(services, stages.STAGES[stage], [job_id], stage)


def replace_weights(folder: Path) -> dict[str, str]:
    """Import other weights under the name of those that ship."""
    shutil.copy(read_cards(folder)["compact"].path, folder / "compact.safetensors")
    (folder / "compact.toml").write_text(f'sha256 = "{"e" * 64}"\n')
    return {"compact": "e" * 64}


def take_over(site: Site, services: Services, job_id: UUID) -> int:
    with services.begin() as session:
        batch = session.get_one(Batch, site.get_job(job_id).batch_id)
        recipe = recipes.Recipe.model_validate(batch.recipe)
        return takeovers.take_over(session, batch.tenant_id, batch.id, recipe, 9, services.settings.weights)


def test_a_result_says_what_it_was_made_with_and_the_next_deposit_takes_it_over(
    sqlite_site: Site, services: Services, photo: Path
) -> None:
    first = sites.deposit(sqlite_site, services, photo)
    run(services, first, *Stage)
    weights = {name: card.sha256 for name, card in read_cards().items()}
    assert sqlite_site.get_job(first).state is State.RESTORED
    assert sqlite_site.get_job(first).made_with == recipes.hash_making(recipes.parse({}), weights)
    again = sites.deposit(sqlite_site, services, photo)
    other = sites.deposit(sqlite_site, services, photo, region="whole")
    assert take_over(sqlite_site, services, again) == 1
    assert take_over(sqlite_site, services, other) == 0
    assert sqlite_site.list_attempts(again)[-1].files == sqlite_site.list_attempts(first)[-1].files


def test_weights_that_are_replaced_before_a_photo_is_rendered_are_not_what_it_was_made_with(
    sqlite_site: Site, services: Services, photo: Path
) -> None:
    recipe = recipes.parse({})
    job_id = sites.deposit(sqlite_site, services, photo)
    former = recipes.hash_making(recipe, recipes.find_weights(recipe, services.settings.weights))
    run(services, job_id, Stage.INGEST, Stage.COLORIZE, Stage.DEFADE)
    replaced = replace_weights(services.settings.weights)
    run(services, job_id, Stage.RENDER)
    assert sqlite_site.get_job(job_id).made_with == former
    assert former != recipes.hash_making(recipe, recipes.find_weights(recipe, services.settings.weights))
    assert recipes.find_weights(recipe, services.settings.weights)["compact"] == replaced["compact"]
    again = sites.deposit(sqlite_site, services, photo)
    assert take_over(sqlite_site, services, again) == 0, "today's weights make another result"
