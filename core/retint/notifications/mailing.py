"""E-mail by SMTP: checks addresses, makes messages, hands them to the operator's server."""

import html
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError, MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit
from uuid import UUID

from retint.errors import InvalidRequest
from retint.notifications.mails import Mail
from retint.settings import Settings

TIMEOUT_S = 15.0
SUBJECT_LENGTH = 150
DEFAULT_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True)
class MailAnswer:
    """What the server said."""

    status: int | None
    problem: str | None = None
    """Why it was not taken, in a sentence; None where it was."""
    is_final: bool = False
    """Whether another try would be refused just so."""
    is_server: bool = False
    """Whether the server as a whole failed, not this message."""


def check_address(text: str) -> str:
    """Return an e-mail address that mail can be sent to.

    Raises:
        InvalidRequest: it is none; above all nothing that could become a header of its own.
    """
    text = text.strip()
    name, _, host = text.rpartition("@")
    try:
        parsed = Address(addr_spec=text)
        host = parsed.domain.encode("idna").decode()
        is_good = text.isprintable() and len(text) <= 254 and "." in host and bool(parsed.username)
    except (HeaderParseError, IndexError, UnicodeError, ValueError):
        is_good = False
    if not is_good or set(name) & set(' ,;:<>()[]"\\'):
        raise InvalidRequest("This is not an email address.", code="invalid_email")
    return f"{name}@{host}"


def make_message(settings: Settings, address: str, mail: Mail, message_id: UUID) -> EmailMessage:
    """Make the message, in plain text and simple HTML; the same id for each try, so that a receiver tells a copy."""
    sender = check_address(settings.mail_from or "")
    message = EmailMessage()
    # A header ends at the first line break. There is none in a subject whatever a batch's name holds.
    message["Subject"] = " ".join("".join(c if c.isprintable() else " " for c in mail.subject).split())[:SUBJECT_LENGTH]
    message["From"] = Address("Retint", addr_spec=sender)
    message["To"] = Address(addr_spec=address)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(_make_html(mail.text), subtype="html")
    return message


def _make_html(text: str) -> str:
    """Make simple HTML of a text: paragraphs, lines, and links."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        lines = [html.escape(line) for line in paragraph.splitlines()]
        linked = [
            f'<a href="{line}">{line}</a>' if line.startswith(("https://", "http://")) else line for line in lines
        ]
        paragraphs.append(f"<p>{'<br>'.join(linked)}</p>")
    style = "font-family: sans-serif; line-height: 1.5; max-width: 36em"
    return f'<!doctype html><html lang="en"><body style="{style}">{"".join(paragraphs)}</body></html>'


def send(settings: Settings, message: EmailMessage) -> MailAnswer:
    """Hand one message to the operator's server; whatever goes wrong is in the answer."""
    url = urlsplit(settings.smtp_url.get_secret_value() if settings.smtp_url else "")
    try:
        with _connect(
            url.scheme, url.hostname or "", url.port, (settings.mail_from or "").rpartition("@")[2]
        ) as server:
            if url.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            elif url.scheme == "smtp" and url.username:
                sentence = "The mail server offers no STARTTLS, so the password is not sent to it."
                return MailAnswer(None, sentence, is_server=True)
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(message)
            return MailAnswer(250)
    except smtplib.SMTPRecipientsRefused as error:
        [(status, _)] = error.recipients.values()
        return _refusal(status, "The mail server does not take mail for this address.")
    except smtplib.SMTPNotSupportedError:
        return MailAnswer(None, "The mail server does not take addresses with such letters.", is_final=True)
    except smtplib.SMTPAuthenticationError as error:
        return MailAnswer(error.smtp_code, "The mail server does not accept the name and password.", is_server=True)
    except smtplib.SMTPSenderRefused as error:
        return MailAnswer(error.smtp_code, "The mail server does not take mail from this sender.", is_server=True)
    except smtplib.SMTPDataError as error:
        return _refusal(error.smtp_code, "The mail server refused the message.")
    except ssl.SSLCertVerificationError:
        return MailAnswer(None, "The certificate of the mail server is not valid for it.", is_server=True)
    except (smtplib.SMTPException, OSError, ValueError, MessageError) as error:
        return MailAnswer(None, f"The mail server did not answer ({type(error).__name__}).", is_server=True)


def _connect(scheme: str, host: str, port: int | None, own_name: str) -> smtplib.SMTP:
    port = port or DEFAULT_PORTS.get(scheme, 25)
    if scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, own_name or None, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port, own_name or None, timeout=TIMEOUT_S)
    server.ehlo()
    return server


def _refusal(status: int, sentence: str) -> MailAnswer:
    """Return the answer for a message that was not taken: for good with a 5xx, for now with a 4xx (RFC 5321)."""
    return MailAnswer(status, sentence, is_final=status >= 500)
