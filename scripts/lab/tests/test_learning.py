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
from .base import settle

# One of them is held out to judge by: the newest quarter.
FAILURES = 4
CALM_S = 18
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
        for nth in range(FAILURES):
            self.fail_once(nth)
        challenger = self.challenger_trained()
        self.duel(challenger)
        self.a_damaged_model_is_refused(challenger)
        self.back_by_name(challenger)
        self.recordings_can_be_replayed_and_learnt_from()

    def failures(self) -> int:
        return len(list((self.dir / "history").glob("*.failed.jsonl")))

    def fail_once(self, nth: int) -> None:
        """Calm, then a lossy path until the engine itself calls that a failure, then recovery. It is recorded from outside too."""
        whole = lambda: [part for part in (self.dir / "history").glob("*.jsonl") if ".failed" not in part.name]
        self.assertTrue(settle(whole, bool, within_s=60), f"it has not recovered: {self.a1.last_words()}")
        before = self.failures()
        out = self.dir / "recorded" / f"loss-{nth}.jsonl"
        recorder = subprocess.Popen(
            [binary(), "predict", "record", "-s", self.a1.socket, "--out", out, "--seconds", str(CALM_S + 12),
             "--kind", "ramp", "--fault", "link-loss"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.rig.topo.on_close(recorder.kill)
        time.sleep(CALM_S)
        self.rig.wan(loss=LOSS)
        failed = settle(self.failures, lambda n: n > before, within_s=30)
        self.rig.wan(loss=0.0)
        self.assertGreater(failed, before, f"no failure by its own measure: {self.a1.last_words()}")
        self.assertEqual(recorder.wait(60), 0)

    def log(self, pattern: str) -> list[str]:
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.a1.log.read_text(errors="replace"))
        return re.findall(pattern, text)

    def challenger_trained(self) -> str:
        """A process of its own trains when nobody else wants the CPU; here it is then helped, for a laboratory is never idle."""
        seen: set[int] = set()
        deadline = time.monotonic() + 2 * RETRAIN_S + 180
        while time.monotonic() < deadline and not self.log(r"a challenger runs in shadow"):
            time.sleep(0.05)
            for pid in map(int, self.log(r"a challenger is trained pid=(\d+)")[-1:]):
                with contextlib.suppress(OSError):
                    seen |= self.look_at(pid)
        told = "\n".join(self.log(r".*learning.*|.*challenger.*"))
        self.assertTrue(seen, f"no training was seen: {told}")
        names = self.log(r"a challenger runs in shadow model=\"?([\w.-]+)")
        self.assertTrue(names, told + self.a1.last_words())
        self.assertRegex(names[0], r"^own-\d+$")
        self.assertEqual((self.store / "champion").read_text().strip(), "hopeless", "in shadow it decides nothing")
        return names[0]

    def look_at(self, pid: int) -> set[int]:
        """The training, once it is the engine's own program."""
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if words[1:3] != ["predict", "retrain"] or os.sched_getscheduler(pid) != os.SCHED_IDLE:
            return set()
        self.assertEqual(parent, self.a1.process.pid)
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
        return {pid}

    def duel(self, challenger: str) -> None:
        verdict = r"another model predicts from now on|the challenger has lost.*"
        decided = settle(lambda: self.log(verdict), bool, within_s=SHADOW_S + 60)
        self.assertEqual(decided, ["another model predicts from now on"], self.a1.last_words())
        champion = settle(lambda: (self.store / "champion").read_text().strip(), lambda name: name == challenger)
        self.assertEqual(champion, challenger)
        listed = run(binary(), "predict", "models", "-c", self.a1.config).stdout
        print(f"\n{listed}", flush=True)
        self.assertRegex(listed, rf"\*\s+{challenger}")
        self.assertTrue((self.store / challenger / "card.md").exists(), "every model has its card")

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
        said = settle(lambda: self.log(r"the model in use stays.*"), bool, within_s=10)
        self.assertTrue(said, self.a1.last_words())
        self.assertEqual(len(self.log(r"another model predicts from now on")), 1)
        self.assertIsNotNone(self.a1.status().probability, "it still predicts")
        (self.store / "champion").write_text(f"{champion}\n")
        file.write_bytes(whole)

    def back_by_name(self, champion: str) -> None:
        said = run(binary(), "predict", "rollback", "hopeless", "-c", self.a1.config).stdout
        self.assertIn(f"hopeless instead of {champion}", said)
        changes = settle(lambda: self.log(r"another model predicts from now on"), lambda lines: len(lines) == 2, within_s=10)
        self.assertEqual(len(changes), 2, self.a1.last_words())

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
