"""Results without workers: restored jobs that are written straight into database and store, with small pictures."""

import hashlib
import io
import uuid
from typing import Any

from PIL import Image, ImageDraw
from sqlalchemy import insert

from retint import accounts, recipes
from retint.columns import now
from retint.lifecycle import Outcome, Stage, State
from retint.services import Services
from retint.stores import keys
from retint.tables import Attempt, Batch, Job, Photo

SIZE = (480, 360)


def draw(number: int, *, colored: bool) -> bytes:
    """Draw a picture that tells which one it is."""
    hue = f"hsl({number * 47 % 360}, {45 if colored else 0}%, 55%)"
    picture = Image.new("RGB", SIZE, hue)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((120, 60, 360, 300), fill=f"hsl({number * 91 % 360}, {60 if colored else 0}%, 75%)")
    pen.text((200, 160), str(number), fill="black", font_size=64)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def add(services: Services, email: str, count: int, name: str = "Box 7", remark: str | None = None) -> str:
    """Add a batch of restored jobs for a user's tenant; return its id. The first one is the riskiest."""
    recipe = recipes.parse({})
    with services.begin() as session:
        tenant_id = accounts.find_user(session, email).tenant_id
        batch = Batch(tenant_id=tenant_id, name=name, recipe_hash=recipe.hash, recipe=recipe.model_dump())
        session.add(batch)
    photos, jobs, attempts = [], [], []
    for number in range(count):
        photo_id, job_id = uuid.uuid4(), uuid.uuid4()
        color, gray = draw(number, colored=True), draw(number, colored=False)
        prefix = keys.stage_prefix(tenant_id, photo_id, job_id, Stage.RENDER)
        files = {each: f"{prefix}1/{each}.jpg" for each in ("result", "preview", "before", "thumb")}
        for each, key in files.items():
            services.store.put(key, gray if each == "before" else color)
        services.store.put(keys.original(tenant_id, photo_id), gray)
        digest = hashlib.sha256(color + job_id.bytes).hexdigest()
        common = {"tenant_id": tenant_id, "job_id": job_id, "outcome": Outcome.DONE, "started_at": now()}
        found = {"width": SIZE[0], "height": SIZE[1], "kind": "neutral"}
        photos.append({"id": photo_id, "tenant_id": tenant_id, "sha256": digest, "size": len(gray)})
        jobs.append(
            {
                "id": job_id,
                "tenant_id": tenant_id,
                "batch_id": batch.id,
                "photo_id": photo_id,
                "name": f"album/photo {number + 1:03}.jpg",
                "stage": Stage.RENDER,
                "state": State.RESTORED,
                "risk": 1 - number / count,
            }
        )
        done: dict[str, Any] = {"sha256": digest, "colorless": remark, "notes": []}
        attempts += [
            {**common, "number": 1, "stage": Stage.INGEST, "files": {}, "facts": found},
            {**common, "number": 2, "stage": Stage.RENDER, "files": files, "facts": done},
        ]
    with services.begin() as session:
        session.execute(insert(Photo), photos)
        session.execute(insert(Job), jobs)
        for attempt in attempts:
            session.add(Attempt(**attempt))
    return str(batch.id)
