"""The WSGI application: `gunicorn --worker-class gthread --threads 16 retint_web.wsgi:app`."""

from retint import telemetry
from retint.services import Services
from retint.settings import Settings
from retint_web.app import create_app

settings = Settings()
telemetry.configure(settings, "portal")
services = Services.connect(settings)
services.keep_reporting()
app = create_app(services)
