"""Telling people: real mail, real HTTP, by Airflow connections; one sentence, links, no secrets."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from stepzero.core.errors import VERDICT_NO, SpecError
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_environment, validate
from stepzero_airflow.links.report import report_address
from stepzero_airflow.notifiers.message import Message
from stepzero_airflow.notifiers.people import PeopleNotifier, tell
from stepzero_airflow.operators.stage import StageOperator
from support.scripted import SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

    from stepzero.adapters.store import Store

EVIL = "FAIL: batch <b>x</b> & <!channel> {{ ti }}: it's broken."
LINKS = {"Run": "http://admin:pass-word@airflow/dags/d/runs/r", "Quality report": "http://mlflow/#/runs/1", "None": ""}
MESSAGE = Message(event="failed_gate", sentence=EVIL, links=LINKS)


class _MailHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to hand over a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for raw in self.rfile:
            word = raw.split()[0].upper() if raw.split() else b""
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                    lines.append(line)
                self.server.mails.append(b"".join(lines))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class _HttpHandler(BaseHTTPRequestHandler):
    """Answers what Slack and SNS answer, and keeps what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        sns = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
        slack = b'{"ok": true}' if "hook" not in self.path else b"ok"
        answer = sns if b"TopicArn" in body or b"TargetArn" in body else slack
        self.send_response(200)
        self.send_header("Content-Type", "text/xml" if answer is sns else "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """Run a server on a free port of loopback."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def post_office() -> Iterator[Any]:
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailHandler)) as server:
        server.mails = []
        yield server


@pytest.fixture
def web() -> Iterator[Any]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _HttpHandler)) as server:
        server.posts = []
        yield server


@pytest.fixture
def context(task_instance: Any, environment: Store) -> Any:
    from airflow.sdk import DAG

    task_instance.task = SimpleNamespace(use_case="toy")
    return {
        "ti": task_instance,
        "run_id": "r1",
        "dag": DAG("d", schedule=None),
        "dag_run": SimpleNamespace(clear_number=0),
    }


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **settings: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(settings))


def name_recipients(folder: Path, *recipients: dict[str, str], event: str = "failed_gate") -> None:
    """Write recipients of an event into the environment file of the test."""
    path = folder / "scripted.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notify": {event: list(recipients)}}))


def test_mail(post_office: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"from_email": "stepzero@example.org", "disable_ssl": True, "disable_tls": True}
    connect(monkeypatch, "post", conn_type="smtp", host="127.0.0.1", port=post_office.server_address[1], extra=extra)
    name_recipients(tmp_path, {"by": "smtp", "connection": "post", "to": "one@example.org, two@example.org"})
    assert tell(MESSAGE, context, "toy") == 1
    (mail,) = map(email.message_from_bytes, post_office.mails)
    assert (mail["From"], mail["To"]) == ("stepzero@example.org", "one@example.org, two@example.org")
    assert mail["Subject"] == EVIL
    assert _html_of(mail) == (
        "<p>FAIL: batch &lt;b&gt;x&lt;/b&gt; &amp; &lt;!channel&gt; {{ ti }}: it&#x27;s broken.</p>"
        '<p><a href="http://airflow/dags/d/runs/r">Run</a></p>'
        '<p><a href="http://mlflow/#/runs/1">Quality report</a></p>'
    )


def _html_of(mail: Mail) -> str:
    (part,) = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    return bytes(part.get_payload(decode=True)).decode().strip()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["slack", "slackwebhook"])
def test_slack(web: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    base = f"http://127.0.0.1:{web.server_address[1]}"
    settings = {"slack": {"extra": {"base_url": f"{base}/api/"}}, "slackwebhook": {"host": f"{base}/hook"}}[kind]
    connect(monkeypatch, "chat", conn_type=kind, password="a-token", **settings)
    name_recipients(tmp_path, {"by": "slack", "connection": "chat", **({"to": "#data"} if kind == "slack" else {})})
    assert tell(MESSAGE, context, "toy") == 1
    ((path, headers, body),) = web.posts
    sent = json.loads(body)
    assert sent["text"] == (
        "FAIL: batch &lt;b&gt;x&lt;/b&gt; &amp; &lt;!channel&gt; {{ ti }}: it's broken.\n"
        "<http://airflow/dags/d/runs/r|Run>\n<http://mlflow/#/runs/1|Quality report>"
    )
    if kind == "slack":
        assert (path, sent["channel"], headers["Authorization"]) == ("/api/chat.postMessage", "#data", "Bearer a-token")


def test_sns(web: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:data"
    extra = {"endpoint_url": f"http://127.0.0.1:{web.server_address[1]}"}
    connect(monkeypatch, "cloud", conn_type="aws", login="key", password="hidden", extra=extra)
    name_recipients(tmp_path, {"by": "sns", "connection": "cloud", "to": topic})
    assert tell(MESSAGE, context, "toy") == 1
    ((_, headers, body),) = web.posts
    sent = {name: value for name, (value,) in parse_qs(body.decode()).items()}
    assert (sent["Action"], sent["TargetArn"], sent["Subject"]) == ("Publish", topic, EVIL)
    assert json.loads(sent["Message"])["default"].splitlines() == [
        EVIL,
        "Run: http://airflow/dags/d/runs/r",
        "Quality report: http://mlflow/#/runs/1",
    ]
    assert "/eu-central-1/sns/" in headers["Authorization"]


def test_one_that_fails_keeps_nobody_else_from_being_told(
    web: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect(
        monkeypatch,
        "chat",
        conn_type="slackwebhook",
        host=f"http://127.0.0.1:{web.server_address[1]}/hook",
        password="t",
    )
    name_recipients(
        tmp_path,
        {"by": "slack", "connection": "no_such_connection"},
        {"by": "support.nobody:send"},
        {"by": "slack", "connection": "chat"},
        {"by": "log"},
    )
    assert tell(MESSAGE, context, "toy") == 2
    assert len(web.posts) == 1
    assert [record.getMessage() for record in caplog.records if "was not told" in record.getMessage()] == [
        "nobody was not told by slack",
        "nobody was not told by support.nobody:send",
    ]


def test_told_once_by_a_task_that_is_tried_again(context: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert [tell(MESSAGE, context, "toy"), tell(MESSAGE, context, "toy")] == [1, 0]
    context["dag_run"].clear_number = 1
    assert tell(MESSAGE, context, "toy") == 1
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("A gate said no")]
    assert (
        lines
        == [f"A gate said no: {EVIL} · Run: http://airflow/dags/d/runs/r · Quality report: http://mlflow/#/runs/1"] * 2
    )


def test_long_sentences_and_secrets_are_cut() -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("hunter-2-hunter")
    message = Message(event="fired_monitor", sentence="password hunter-2-hunter ä\n" + "x" * 900)
    assert message.line.startswith("password *** ä xxx")
    assert (len(message.line), len(message.subject)) == (600, 100)
    assert message.subject.startswith("password *** ? x")


def test_a_refused_batch_is_told_with_its_report(
    environment: Store, context: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    caplog.set_level("INFO")
    run = "http://m/#/experiments/1/runs/abc?workflowType=machine_learning"
    context["ti"].pushed["plan.links"] = {"mlflow": run, "airflow": "http://a/dags/d/runs/r1"}
    environment.write_json(SCRIPT, {"quality_gate": {"status": VERDICT_NO, "outcome": "FAIL", "summary": "the batch"}})
    gate = StageOperator(task_id="gate", stage="quality_gate", use_case="toy", plan_task="plan")
    with pytest.raises(AirflowFailException, match="FAIL: the batch"):
        gate.execute(context | {"params": {}})
    report = "http://m/#/experiments/1/runs/abc/artifacts/quality/quality.html?workflowType=machine_learning"
    lines = [record.getMessage() for record in caplog.records]
    told = "A gate said no: toy: FAIL: the batch. · Run: http://a/dags/d/runs/r1"
    assert f"{told} · Quality report: {report} · MLflow run: {run}" in lines
    assert f"] Quality report: {report} " in capsys.readouterr().out, "an address in the log can be clicked"
    assert context["ti"].pushed["_link_ReportLink"] == report
    assert [link.name for link in gate.operator_extra_links] == ["MLflow run", "Quality report"]
    assert report_address("") == ""


def test_a_fired_monitor_can_be_told(context: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    PeopleNotifier(event="fired_monitor", sentence="drift", links={"Run": "http://a"}).notify(context)
    assert "A monitor fired: drift · Run: http://a" in caplog.text


@pytest.mark.parametrize(
    ("recipient", "told"),
    [
        ({"by": "slak"}, "by is one of log, slack, sns, smtp, or package.module:function of yours, not 'slak'"),
        ({"by": "smtp"}, "smtp needs `to`: a mail address"),
        ({"by": "sns"}, "sns needs `to`: the ARN of a topic"),
    ],
)
def test_recipients_that_cannot_be_are_told(recipient: dict[str, str], told: str) -> None:
    with pytest.raises(SpecError) as raised:
        validate({"name": "x", "store": "file:///x", "notify": {"failed_gate": [recipient]}}, Environment)
    assert told in str(raised.value)


def test_the_log_is_told_by_default() -> None:
    local = load_environment("local")
    assert [one.by for one in local.recipients("waiting_approval")] == ["log"]
    bare = Environment(name="x", store="file:///x", notify={"failed_gate": ()})
    assert (bare.recipients("failed_gate"), [one.by for one in bare.recipients("fired_monitor")]) == ((), ["log"])
