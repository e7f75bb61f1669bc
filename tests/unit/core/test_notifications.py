"""When notifications are tried again, what is signed, which addresses are told, and what e-mails look like."""

import email
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from retint.errors import InvalidRequest
from retint.notifications import kinds, mailing, make_body, posting, schedule
from retint.notifications.kinds import KINDS
from retint.notifications.mails import Mail
from retint.settings import Settings

SECRET, OTHER = "whsec_" + "A" * 43 + "=", "whsec_" + "B" * 43 + "="
MAILING = Settings(smtp_url=SecretStr("smtp://mail.example.org"), mail_from="retint@example.org")
DOCUMENT = Path(__file__).parents[3] / "docs/notifications.md"


def test_ten_tries_over_three_days_each_with_jitter() -> None:
    waits = [schedule.wait_after(tries) for tries in range(1, schedule.TRIES)]
    for wait, planned in zip(waits, (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), strict=True):
        assert wait is not None
        assert 0.8 * planned <= wait <= 1.2 * planned
    assert schedule.wait_after(schedule.TRIES) is None
    assert len({schedule.wait_after(2) for _ in range(10)}) > 1


def test_a_failing_receiver_is_left_alone_for_longer_and_longer_up_to_five_minutes() -> None:
    assert schedule.pause_after(1) < 5
    assert 100 < schedule.pause_after(6) < 160
    for failures in (20, 10_000):
        assert 240 <= schedule.pause_after(failures) <= 360
    assert schedule.pause_after(1, 503) >= 48
    assert schedule.pause_after(1, 500) < 5
    assert schedule.pause_after(1, 429, "120") == 120


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (None, 0), ("", 0), ("soon", 0), ("-5", 0), ("1e3", 0), ("9" * 40, 86400), ("٣", 0)],
)
def test_retry_after_is_seconds(text: str | None, seconds: float) -> None:
    assert schedule.parse_retry_after(text) == seconds


def test_retry_after_is_a_date_too() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 <= schedule.parse_retry_after(later) <= 90
    assert schedule.parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert schedule.parse_retry_after("Wed, 21 Oct 9999 07:28:00 GMT") == 86400


def sign(secrets: list[str]) -> tuple[str, dict[str, str]]:
    body = make_body(kinds.BATCH_ENDED, kinds.BATCH_ENDED.example | {"restored": 5, "reasons": [{"sentence": "Größe"}]})
    return body, posting.sign(uuid4(), body, secrets)


def test_receivers_verify_the_signature_with_the_secret_and_with_the_one_before() -> None:
    body, headers = sign([SECRET, OTHER])
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body.encode(), headers)["type"] == "batch.ended"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "C" * 43 + "=").verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace("5", "6"), headers)


def test_a_foreign_implementation_verifies_it_too(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: the judge is npm's standardwebhooks")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "standardwebhooks@1"]
    if subprocess.run(install, cwd=tmp_path, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("npm cannot install standardwebhooks here")
    body, headers = sign([OTHER, SECRET])
    script = """
        const { Webhook } = require("standardwebhooks");
        const [secret, body, headers] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        try { console.log(new Webhook(secret).verify(body, headers).data.restored); }
        catch (error) { console.log(error.message); }
    """
    (tmp_path / "verify.cjs").write_text(script)

    def verify(secret: str, text: str) -> str:
        command, told = ["node", "verify.cjs"], json.dumps([secret, text, headers])
        done = subprocess.run(command, cwd=tmp_path, input=told, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert verify(SECRET, body) == "5"
    assert verify(OTHER, body) == "5"
    assert verify(SECRET, body + " ") == "No matching signature found"


def test_every_body_is_documented_word_for_word() -> None:
    text = DOCUMENT.read_text()
    for name in kinds.OFFERED:
        data = json.dumps(KINDS[name].example, indent=2, ensure_ascii=False)
        shown = "\n".join(f"  {line}" for line in data.splitlines()).lstrip()
        assert f'"type": "{name}"' in text
        assert f'"data": {shown}' in text, f"docs/notifications.md should show {name} as:\n{shown}"
        assert len(make_body(KINDS[name], KINDS[name].example)) < 20_000
    with pytest.raises(ValueError, match="has the fields"):
        make_body(kinds.BATCH_ENDED, {"restored": 1})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dams.example.org",
        "ftp://dams.example.org/",
        "https://",
        "https://user:password@dams.example.org/",
        "http://dams.example.org/",
        "https://dams.example.org/\r\nX-A: b",
        "https://dams.example.org/" + "a" * 500,
        "file:///etc/passwd",
        "https://[::1",
    ],
)
def test_an_address_that_cannot_be_told_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        posting.check_url(Settings(), url)


def test_without_tls_only_what_the_operator_lists_by_host_and_port() -> None:
    settings = Settings(webhook_hosts="DAMS.museum:8080, [fd00::7]:80")
    for url in ("http://dams.museum:8080/in", "http://[fd00::7]/", "https://anywhere.example/"):
        assert posting.check_url(settings, url) == url
    for url in ("http://dams.museum/", "http://dams.museum:8081/", "http://other.museum:8080/"):
        with pytest.raises(InvalidRequest, match="RETINT_WEBHOOK_HOSTS"):
            posting.check_url(settings, url)
    assert posting.is_listed(settings, httpx.URL("http://x@dams.museum:8080/"))


def read_parts(message: EmailMessage) -> tuple[str, str]:
    parts = message.get_payload()
    assert isinstance(parts, list)
    return tuple(part.get_content() for part in parts if isinstance(part, EmailMessage))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.write])
def test_every_kind_writes_calm_plain_text_and_the_same_in_html(name: str) -> None:
    write = KINDS[name].write
    assert write is not None
    mail = write(KINDS[name].example)
    text, html = read_parts(mailing.make_message(MAILING, "a@example.org", mail, uuid4()))
    assert text.strip()
    assert "!" not in text
    link = KINDS[name].example.get("link") or KINDS[name].example.get("url") or KINDS[name].example["batch"]["url"]
    assert f'<a href="{link}">' in html
    assert link in text


def test_a_mail_says_how_a_batch_ended() -> None:
    fields: dict[str, Any] = kinds.BATCH_ENDED.example
    mail = kinds.BATCH_ENDED.write(fields) if kinds.BATCH_ENDED.write else None
    assert mail
    assert mail.subject == "Glass plates, box 7: 998 photos restored, 2 not"
    assert "998 photos restored, 2 refused." in mail.text
    assert "2 photos: This is not a photograph." in mail.text
    assert fields["batch"]["url"] in mail.text


@given(st.text(max_size=300))
def test_no_name_of_a_batch_becomes_a_header_or_markup(name: str) -> None:
    mail = Mail(f"{name}\r\nBcc: thief@example.org\n\n<b>: 5 photos", f"{name}<script>\r\nBcc: x\n")
    try:
        message = mailing.make_message(MAILING, "a@example.org", mail, uuid4())
        parsed = email.message_from_bytes(message.as_bytes(policy=SMTP), policy=SMTP)
    except UnicodeEncodeError:  # half a surrogate pair, which no database holds
        return
    assert parsed["Bcc"] is None
    assert len(parsed.get_all("Subject", [])) == 1
    assert parsed["To"] == "a@example.org"
    assert "<script>" not in read_parts(message)[1]


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "a@",
        "@example.org",
        "a@localhost",
        "a@example.org\nBcc: b@example.org",
        "a@example.org, b@example.org",
        "a <a@example.org>",
        '"a b"@example.org',
        "a@b@example.org",
        "a@exa mple.org",
        "a" * 250 + "@example.org",
        "a\0@example.org",
    ],
)
def test_what_is_no_address_gets_no_mail(address: str) -> None:
    with pytest.raises(InvalidRequest):
        mailing.check_address(address)


def test_addresses_keep_their_letters_and_hosts_become_ascii() -> None:
    assert mailing.check_address(" o'neil+x@example.org ") == "o'neil+x@example.org"
    assert mailing.check_address("a@müseum.example") == "a@xn--mseum-kva.example"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"smtp_url": "smtp://mail.example.org"}, "need each other"),
        ({"mail_from": "retint@example.org"}, "need each other"),
        ({"smtp_url": "https://mail.example.org", "mail_from": "a@b.example"}, "no address such as"),
        ({"smtp_url": "smtp://mail.example.org", "mail_from": "retint"}, "no email address"),
        ({"webhook_hosts": "dams.museum"}, "no host:port"),
    ],
)
def test_settings_that_contradict_each_other_are_told(values: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Settings(**values)  # type: ignore[arg-type]
