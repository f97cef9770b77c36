"""The service over HTTP: who may ask, what is answered, and that failure lets nothing out."""

import io
import json
import sqlite3
import threading

import numpy as np
import pytest
import torch
from serving import near, packed, png

from safelight.errors import DataError, RecordError
from safelight.filtering.folder import DECISIONS, POLICY, PROTECTED, TOKENS
from safelight.filtering.pictures import BATCH, MOST_BYTES
from safelight.filtering.running import running
from safelight.filtering.service import LOCAL, Limits
from safelight.filtering.tokens import Tokens


def decisions(folder):
    base = sqlite3.connect(folder.file(DECISIONS))
    try:
        return base.execute("SELECT id, request, client, decision FROM decisions").fetchall()
    finally:
        base.close()


def test_copies_are_blocked_and_other_pictures_pass(serve, digits):
    served = serve()
    status, told = served.submit(packed(torch.cat([digits.protected[:5], digits.fresh[:5]])))
    assert status == 200
    assert [one["decision"] for one in told["outputs"][:5]] == ["block"] * 5
    assert [one["decision"] for one in told["outputs"][5:]].count("allow") >= 4
    assert told["decision"] == "block"
    assert [row[0] for row in decisions(served.folder)] == [one["id"] for one in told["outputs"]]
    status, told = served.submit(png(digits.protected[0]), "image/png")
    assert (status, told["decision"]) == (200, "block")


def test_answers_tell_no_distance(serve, digits):
    _, told = serve().submit(packed(digits.protected[:1]))
    assert set(told) == {"decision", "request", "outputs"}
    assert set(told["outputs"][0]) == {"id", "decision"}


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer ", "Basic {client}", "{client}", "Bearer {reviewer}"]
)
def test_only_a_clients_token_may_submit(serve, digits, header):
    served = serve()
    headers = {"Content-Type": BATCH}
    if header is not None:
        headers["Authorization"] = header.format(client=served.client, reviewer=served.reviewer)
    status, content, _ = served.ask("POST", "/v1/outputs", packed(digits.fresh[:1]), headers)
    assert status == (403 if header == "Bearer {reviewer}" else 401)
    assert json.loads(content)["decision"] == "block"
    assert decisions(served.folder) == []


def test_a_revoked_token_ends_at_once_and_only_hashes_are_kept(serve, digits):
    served = serve()
    assert served.submit(packed(digits.fresh[:1]))[0] == 200
    assert served.client not in served.folder.file(TOKENS).read_text()
    Tokens(served.folder).revoke("generator")
    assert served.submit(packed(digits.fresh[:1]))[0] == 401
    served.folder.file(TOKENS).write_text("{damaged")
    status, told = served.submit(packed(digits.fresh[:1]))
    assert (status, told["decision"]) == (503, "block")


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"nothing", BATCH, 422),
        (b"nothing", "image/png", 422),
        (b"nothing", "text/plain", 415),
        (b"", "", 415),
        (b"0" * (MOST_BYTES + 1), BATCH, 413),
    ],
)
def test_what_cannot_be_read_is_blocked(serve, body, media, status):
    found, told = serve().submit(body, media)
    assert (found, told["decision"]) == (status, "block")
    assert "; " in told["error"]


def test_a_client_that_is_too_fast_waits(serve, digits):
    served = serve(limits=Limits(rate=10, burst=20))
    assert served.submit(packed(digits.fresh[:20]))[0] == 200
    status, told = served.submit(packed(digits.fresh[:10]))
    assert (status, told["decision"]) == (429, "block")
    assert "wait" in told["error"]
    assert len(decisions(served.folder)) == 20


def test_another_name_of_this_machine_is_not_answered(serve):
    """A page elsewhere that makes a browser ask 127.0.0.1 under its own name (DNS rebinding)."""
    served = serve()
    assert served.ask("GET", "/login", None, {"Host": "evil.example"})[0] == 400
    assert served.ask("GET", "/login", None, {"Host": f"localhost:{served.port}"})[0] == 200


def test_an_output_is_followed_by_whoever_submitted_it(serve, digits):
    served = serve()
    other = Tokens(served.folder).add("other", "client")
    _, told = served.submit(packed(near(digits.protected[:40], 0.17)))
    waiting = [one["id"] for one in told["outputs"] if one["decision"] == "review"]
    path = f"/v1/outputs/{waiting[0]}"
    own = {"Authorization": f"Bearer {served.client}"}
    assert json.loads(served.ask("GET", path, None, own)[1])["decision"] == "review"
    assert served.ask("GET", path, None, {"Authorization": f"Bearer {other}"})[0] == 404
    assert served.ask("GET", path)[0] == 401


def test_the_monitor_needs_a_reviewers_token(serve, digits):
    served = serve()
    served.submit(packed(torch.cat([digits.fresh[:150], digits.protected[:80]])))
    as_client = {"Authorization": f"Bearer {served.client}"}
    assert served.ask("GET", "/v1/monitor", None, as_client)[0] == 403
    as_reviewer = {"Authorization": f"Bearer {served.reviewer}"}
    found = json.loads(served.ask("GET", "/v1/monitor", None, as_reviewer)[1])
    assert found["counts"]["block"] >= 80
    held = next(one for one in found["rates"] if one["name"] == "held")
    assert held["low"] > held["promised"]
    assert found["drift"]["p"] < 1e-4
    (client,) = found["clients"]
    assert (client["name"], client["state"]) == ("generator", "flagged")


def test_a_scanner_is_held_until_somebody_lifts_it_also_over_a_restart(serve, digits):
    served = serve(hold="scans")
    for at in range(0, 60, 10):
        served.submit(packed(digits.protected[at : at + 10]))
    _, told = served.submit(packed(digits.fresh[:20]))
    assert {one["decision"] for one in told["outputs"]} == {"block"}
    # The same folder, served by another process later: here only one may hold it.
    with pytest.raises(RecordError, match="another process serves"):
        running(served.folder, None, False, "none", Limits(), LOCAL).__enter__()


def test_a_client_that_climbs_is_held_before_it_arrives(serve, digits):
    """From a harmless digit towards a protected one, by small steps."""
    served = serve(hold="climbs")
    start, goal = digits.fresh[0].float(), digits.protected[0].float()
    shares = torch.linspace(0, 0.9, 90)[:, None, None, None]
    steps = ((1 - shares) * start + shares * goal).round().byte()
    for at in range(0, 90, 10):
        served.submit(packed(steps[at : at + 10]))
    reasons = sqlite3.connect(served.folder.file(DECISIONS))
    held = [one for (one,) in reasons.execute("SELECT reason FROM decisions ORDER BY seq")]
    (kind, detail) = reasons.execute("SELECT kind, detail FROM events").fetchone()
    reasons.close()
    assert kind == "held"
    assert "came nearer" in detail or "were held" in detail
    assert held[-1] == "held client"
    assert held.index("held client") < 80
    _, told = served.submit(packed(digits.fresh[1:9]))
    assert {one["decision"] for one in told["outputs"]} == {"block"}


def test_a_restart_forgets_nothing(folder, digits):
    from safelight.filtering.decisions import Decisions, Event
    from safelight.filtering.pictures import Outputs
    from safelight.filtering.worker import Worker

    def ask(worker, pictures):
        arrays = tuple(one.permute(1, 2, 0).numpy() for one in pictures)
        return worker.submit("c", Outputs(arrays)).result(30)

    waiting = []
    for turn in range(2):
        kept = Decisions(folder.file(DECISIONS))
        worker = Worker(folder.load(), kept, "scans")
        worker.start()
        if turn == 0:
            found = ask(worker, near(digits.protected[:40], 0.17))
            waiting = [one for one in found if one.decision == "review"]
            worker.say(waiting[0], "approve", "ann")
            worker.say(waiting[1], "reject", "ann")
            ask(worker, digits.protected[:40])
            assert worker.held() == {"c"}
        else:
            assert worker.held() == {"c"}
            assert {one.reason for one in ask(worker, digits.fresh[:3])} == {"held client"}
            worker.tell(Event(1e12, "c", "lifted", "ann", "by hand"))
            assert worker.held() == set()
            again = ask(worker, near(digits.protected[:40], 0.17))
            said = {one.content: one.decision for one in again if one.reason == "reviewed"}
            assert said == {waiting[0].content: "allow", waiting[1].content: "block"}
        worker.stop()
        kept.close()


def test_without_a_part_nothing_is_served(folder):
    for name, reason in ((PROTECTED, "missing"), (POLICY, "no filter at")):
        kept = folder.file(name).read_bytes()
        folder.file(name).unlink()
        with pytest.raises(DataError, match=reason):
            folder.load()
        folder.file(name).write_bytes(kept[:-100])
        with pytest.raises(DataError, match=r"cannot read|damaged"):
            folder.load()
        folder.file(name).write_bytes(kept)
    other = bytearray(folder.file(PROTECTED).read_bytes())
    other[-1] ^= 1
    folder.file(PROTECTED).write_bytes(other)
    with pytest.raises(DataError, match="not what the thresholds were calibrated with"):
        folder.load()


def test_a_filter_that_fails_lets_nothing_out(serve, digits, monkeypatch):
    served = serve()

    def broken(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("safelight.filtering.engine.Filter.check", broken)
    status, told = served.submit(packed(digits.fresh[:2]))
    assert (status, told["decision"]) == (500, "block")
    assert decisions(served.folder) == []
    monkeypatch.undo()
    assert served.submit(packed(digits.fresh[:2]))[0] == 200  # and it goes on


def test_decisions_that_cannot_be_recorded_are_not_answered(serve, digits, monkeypatch):
    served = serve()

    def full(*_):
        raise RecordError("cannot record: database or disk is full; free some space")

    monkeypatch.setattr("safelight.filtering.decisions.Decisions.add", full)
    status, told = served.submit(packed(digits.fresh[:2]))
    assert (status, told["decision"]) == (503, "block")


def test_a_dead_worker_is_told_and_lets_nothing_out(serve, digits, monkeypatch):
    served = serve()

    def die(*_):
        raise SystemExit

    monkeypatch.setattr("safelight.filtering.worker.Worker._decide_apart", die)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    assert served.submit(packed(digits.fresh[:1]))[0] >= 500
    assert served.ask("GET", "/v1/health")[0] == 503
    status, told = served.submit(packed(digits.fresh[:1]))
    assert (status, told["decision"]) == (503, "block")


def test_many_at_once_get_their_own_answers(serve, digits):
    served = serve()
    found = {}

    def send(at):
        batch = torch.cat([digits.protected[at : at + 1], digits.fresh[at : at + 1]])
        found[at] = served.submit(packed(batch))

    threads = [threading.Thread(target=send, args=(at,)) for at in range(24)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(status == 200 for status, _ in found.values())
    assert all(told["outputs"][0]["decision"] == "block" for _, told in found.values())
    rows = {name: request for name, request, _, _ in decisions(served.folder)}
    for _, told in found.values():
        assert {rows[one["id"]] for one in told["outputs"]} == {told["request"]}


class TestSilent:
    """Held outputs are replaced, and nothing but pictures is answered."""

    def shown(self, content):
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return file["images"]

    def test_allowed_pictures_come_back_and_held_ones_are_others(self, serve, digits):
        served = serve(silent=True)
        sent = torch.cat([digits.fresh[:10], digits.protected[:10]])
        status, content = served.submit(packed(sent))
        assert status == 200
        shown = self.shown(content)
        told = [row[3] for row in decisions(served.folder)]
        same = [
            (one == other).all()
            for one, other in zip(shown, sent.permute(0, 2, 3, 1).numpy(), strict=True)
        ]
        assert same == [one == "allow" for one in told]
        assert same[:10].count(True) >= 8
        assert not any(same[10:])
        spare = {one.numpy().tobytes() for one in digits.reserve}
        assert all(one.tobytes() in spare for one in shown[10:])
        assert (self.shown(served.submit(packed(sent))[1]) == shown).all()  # asked again

    def test_the_first_candidate_that_may_be_shown_is_shown(self, serve, digits):
        served = serve(silent=True)
        allowed = [
            at
            for at, one in enumerate(served.folder.load().check(digits.fresh.float() / 255))
            if one.decision == "allow"
        ]
        good = digits.fresh[allowed[:4]]
        pairs = torch.stack([digits.protected[:4], good], dim=1).permute(0, 1, 3, 4, 2).numpy()
        shown = self.shown(served.submit(packed(pairs))[1])
        assert (shown == good.permute(0, 2, 3, 1).numpy()).all()

    def test_no_answer_tells_a_decision(self, serve, digits):
        served = serve(silent=True)
        headers = {"Authorization": f"Bearer {served.client}", "Content-Type": "image/png"}
        answers = [
            served.ask("POST", "/v1/outputs", png(one), headers)
            for one in (digits.fresh[0], digits.protected[0])
        ]
        assert [status for status, _, _ in answers] == [200, 200]
        names = [sorted(told.keys()) for _, _, told in answers]
        assert names[0] == names[1]
        assert {told["Content-Type"] for _, _, told in answers} == {"image/png"}
        own = {"Authorization": f"Bearer {served.client}"}
        (name,) = [row[0] for row in decisions(served.folder)][:1]
        assert served.ask("GET", f"/v1/outputs/{name}", None, own)[0] == 404

    def test_without_pictures_to_show_nothing_is_served(self, folder):
        folder.file("reserve.safetensors").unlink()
        with pytest.raises(DataError, match="--reserve"):
            running(folder, folder.load(), True, "none", Limits(), LOCAL).__enter__()
