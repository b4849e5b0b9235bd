"""A running engine learns from its own failures: history, a challenger from a process of its own, the duel, a person's word."""
import contextlib
import json
import os
import re
import subprocess
import time
import unittest
from pathlib import Path

from ..engines import binary
from ..rig import Rig
from ..shell import ROOT, run
from .base import Watch, settle

# One of them is held out to judge by: the newest quarter.
FAILURES = 4
CALM_S = 15
# How long a failure may take to be seen: three seconds of loss where nobody is in the way.
FAILS_WITHIN_S = 30
# What an engine in the field has a day and an hour for.
RETRAIN_S, SHADOW_S = 45, 15
LOSS = 0.3
BUILT_IN = ROOT / "predictor" / "src" / "default_model" / "model.safetensors"


class LearningRig(Rig):
    """a1 keeps models and a history; its first champion is hopeless, so that a challenger has a chance within minutes."""

    def _change(self, config: dict) -> dict:
        config = super()._change(config)
        if config["engine"]["name"] == "a1":
            (self.topo.dir / "models").mkdir()
            keep(self.topo.dir / "models", "hopeless", hopeless())
            (self.topo.dir / "models" / "champion").write_text("hopeless\n")
            config["prediction"]["learning"] = {
                "store": str(self.topo.dir / "models"), "history": str(self.topo.dir / "history"),
                "retrain_hours": RETRAIN_S / 3600, "shadow_minutes": SHADOW_S / 60}
        return config


def hopeless() -> bytes:
    """The built-in model made to see a failure in everything and never to alarm: numbers of its description, lengths kept."""
    model = BUILT_IN.read_bytes()

    def put(model: bytes, key: bytes, number: str) -> bytes:
        found = re.search(key + rb'[\\":\[]+(-?[0-9.]+)', model)
        width = len(found[1])
        return model[:found.start(1)] + number.ljust(width, "0")[:width].encode() + model[found.end(1):]

    model = put(model, b"alarm_from", "0.9999999999")
    at = model.index(b"bias")
    end = model.index(b"]", at)
    biases = re.sub(rb"-?[0-9.]+", lambda found: b"9.".ljust(len(found[0]), b"0"), model[at:end])
    return model[:at] + biases + model[end:]


def keep(store: Path, name: str, model: bytes) -> Path:
    """A model's file in a store."""
    file = store / name / "model.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(model)
    return file


class Trainings(Watch):
    """Watches what an engine trains, from enter to exit: a process of its own that gets the CPU when nobody else wants it. Here it is
    then helped, for a laboratory is never idle."""

    def __init__(self, engine):
        super().__init__(self._newest, every_s=0.05)
        self._engine = engine
        self.seen: set[int] = set()

    def _newest(self) -> None:
        for pid in map(int, said(self._engine, r"a challenger is trained pid=(\d+)")[-1:]):
            with contextlib.suppress(OSError):
                self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        """The training, once it is the engine's own program and the engine's child."""
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        idle = os.sched_getscheduler(pid) == os.SCHED_IDLE
        if words[1:3] == ["predict", "retrain"] and idle and parent == self._engine.process.pid:
            self.seen.add(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def said(engine, pattern: str) -> list[str]:
    """What an engine's log says, without its colours."""
    return re.findall(pattern, re.sub(r"\x1b\[[0-9;]*m", "", engine.log.read_text(errors="replace")))


class Learning(unittest.TestCase):
    def setUp(self):
        exits = contextlib.ExitStack()
        self.addCleanup(exits.close)
        self.rig = LearningRig(dict.fromkeys(("a1", "b1"), Path(os.devnull)), seed=1)
        exits.enter_context(self.rig)
        self.dir, self.a1 = self.rig.topo.dir, self.rig.engines["a1"]
        self.store = self.dir / "models"
        (self.dir / "recorded").mkdir()

    def test_it_learns_from_its_failures_and_obeys_a_person(self):
        with Trainings(self.a1) as trainings:
            recorders = [self.fail_once(nth) for nth in range(FAILURES)]
            champion = self.a_challenger_takes_over(trainings)
        self.a_damaged_model_is_refused(champion)
        self.back_by_name(champion)
        self.assertEqual([recorder.wait(60) for recorder in recorders], [0] * FAILURES)
        self.recordings_can_be_replayed_and_learnt_from()

    def failures(self) -> int:
        return len(list((self.dir / "history").glob("*.failed.jsonl")))

    def fail_once(self, nth: int) -> subprocess.Popen:
        """Calm, then a lossy path until the engine itself calls that a failure, then recovery. It is recorded from outside too."""
        whole = lambda: [part for part in (self.dir / "history").glob("*.jsonl") if ".failed" not in part.name]
        self.assertTrue(settle(whole, bool, within_s=60), f"it has not recovered: {self.a1.last_words()}")
        before = self.failures()
        out = self.dir / "recorded" / f"loss-{nth}.jsonl"
        recorder = subprocess.Popen(
            [binary(), "predict", "record", "-s", self.a1.socket, "--out", out, "--seconds", str(CALM_S + FAILS_WITHIN_S),
             "--kind", "ramp", "--fault", "link-loss"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.rig.topo.on_close(recorder.kill)
        time.sleep(CALM_S)
        self.rig.wan(loss=LOSS)
        failed = settle(self.failures, lambda n: n > before, within_s=FAILS_WITHIN_S)
        self.rig.wan(loss=0.0)
        self.assertGreater(failed, before, f"no failure by its own measure: {self.a1.last_words()}")
        return recorder

    def log(self, pattern: str) -> list[str]:
        return said(self.a1, pattern)

    def a_challenger_takes_over(self, trainings: Trainings) -> str:
        """One that is better on what the engine lived through last runs in shadow, and wins there; who loses is followed by another."""
        shadow, over = r"a challenger runs in shadow", r"another model predicts from now on"
        won = settle(lambda: self.log(over), bool, within_s=2 * RETRAIN_S + 240)
        told = "\n".join(self.log(r".*(?:challenger|another model).*"))
        self.assertTrue(trainings.seen, f"no training was seen: {told}")
        self.assertEqual(len(won), 1, told + self.a1.last_words())
        self.assertEqual(self.log(f"{shadow}|{over}")[0], shadow, "in shadow it decides nothing")
        champion = settle(lambda: (self.store / "champion").read_text().strip(), lambda name: name != "hopeless")
        self.assertRegex(champion, r"^own-\d+$")
        self.assertIn(champion, self.log(shadow + r" model=\"?([\w.-]+)"))
        listed = run(binary(), "predict", "models", "-c", self.a1.config).stdout
        print(f"\n{listed}", flush=True)
        self.assertRegex(listed, rf"\*\s+{champion}")
        self.assertTrue((self.store / champion / "card.md").exists(), "every model has its card")
        return champion

    def a_damaged_model_is_refused(self, champion: str) -> None:
        file = self.store / "hopeless" / "model.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:len(whole) // 2])
        refused = run(binary(), "predict", "rollback", "hopeless", "-c", self.a1.config, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("refused", refused.stderr)
        self.assertEqual((self.store / "champion").read_text().strip(), champion)
        # Not even if somebody writes the name past the command.
        (self.store / "champion").write_text("hopeless\n")
        stays = settle(lambda: self.log(r"the model in use stays.*"), bool, within_s=10)
        self.assertTrue(stays, self.a1.last_words())
        self.assertEqual(len(self.log(r"another model predicts from now on")), 1)
        self.assertIsNotNone(self.a1.status().probability, "it still predicts")
        (self.store / "champion").write_text(f"{champion}\n")
        file.write_bytes(whole)

    def back_by_name(self, champion: str) -> None:
        said = run(binary(), "predict", "rollback", "hopeless", "-c", self.a1.config).stdout
        self.assertIn(f"hopeless instead of {champion}", said)
        changes = settle(lambda: self.log(r"another model predicts from now on"), lambda lines: len(lines) == 2, within_s=10)
        self.assertEqual(len(changes), 2, self.a1.last_words())
        threshold = settle(lambda: self.a1.status().threshold, lambda t: t > 0.99, within_s=5)
        self.assertGreater(threshold, 0.99, "what the alarm is held against is the model's own, of the one in use")

    def recordings_can_be_replayed_and_learnt_from(self) -> None:
        recorded = self.dir / "recorded"
        for path in recorded.iterdir():
            events = [json.loads(line) for line in path.read_text().splitlines() if '"event"' in line]
            self.assertTrue(any(event.get("event") == "breach" for event in events), f"{path}: no failure in it: {events}")
        replayed = run(binary(), "predict", "replay", recorded / "loss-0.jsonl", "-c", self.a1.config, timeout=60)
        self.assertEqual(replayed.returncode, 0)
        trained = run(binary(), "predict", "train", "--task", "engine", "--data", recorded, "--model", self.dir / "trained",
                      timeout=180)
        print(trained.stdout, flush=True)
        self.assertTrue((self.dir / "trained" / "model.safetensors").exists())
