"""How the deposit page's script sends files: operations of the API, by the session instead of a token."""

from flask import Blueprint

from retint_web.api import batches, uploads
from retint_web.api.blueprint import api

blueprint = Blueprint("sending", __name__, url_prefix="/deposit")
api.offer(
    blueprint,
    batches.add_known_files,
    uploads.open_upload,
    uploads.send_upload,
    uploads.show_upload,
    uploads.end_upload,
)
