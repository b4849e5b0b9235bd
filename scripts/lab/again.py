"""Lab tests, judged: a class that failed while the machine verifiably stood still is run again, a few times at most.

Only a failure between whose class's beginning and whose own end a CPU stood still is excused, and then the whole class is repeated,
for its lab is what suffered. What the repeat says counts in place of the first.
"""
import re
import sys
import time
import traceback
import unittest
from dataclasses import dataclass, field

AGAIN, IN_ALL = 2, 6  # repeats of a class, and of a whole run: a machine that stands still all the time judges nothing
QUIET_S, PATIENCE_S = 10.0, 60.0  # stalls come in swarms: a repeat waits until there was none for so long, but not for ever
WORDS = 1500
PACKAGE = "lab.tests."


@dataclass
class Wrong:
    """A test (or a class's or module's fixture) that failed, when it had ended, and why."""
    name: str
    until: float
    why: str


@dataclass
class Unit:
    """A class of tests (or a module whose set-up failed): what is repeated as one."""
    name: str
    since: float
    passed: int = 0
    wrong: dict[str, Wrong] = field(default_factory=dict)


class Result(unittest.TextTestResult):
    """Prints as ever, and notes by class what passed, what failed, and when."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.units, self._ended = {}, time.monotonic()

    def _unit(self, test) -> Unit:
        """A class begins, with its set-up, where the last test of another one ended."""
        # The set-up of a class that fails is no TestCase but has a name such as 'setUpClass (lab.tests.test_x.Class)'.
        name = (unittest.util.strclass(test.__class__) if isinstance(test, unittest.TestCase)
                else re.sub(r"^\w+ \((.*)\)$", r"\1", test.id()))
        return self.units.setdefault(name, Unit(name, self._ended))

    def _note(self, test, error) -> None:
        why = "".join(traceback.format_exception_only(*error[:2])).strip()
        now, name = time.monotonic(), test.id()
        self._unit(test).wrong.setdefault(name, Wrong(name.replace(PACKAGE, ""), now, why))
        self._ended = now

    def startTest(self, test):
        self._unit(test)
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        self._ended = time.monotonic()
        if failed := self._unit(test).wrong.get(test.id()):
            failed.until = self._ended

    def addSuccess(self, test):
        super().addSuccess(test)
        self._unit(test).passed += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, err)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note(test, (AssertionError, AssertionError("it was expected to fail")))


class Again:
    """Runs tests by name and repeats what cannot be judged."""

    def __init__(self, witness, stream=None):
        self._witness, self._stream, self._since = witness, stream or sys.stdout, time.monotonic()
        self.repeated = []

    def run(self, asked: str) -> list[Unit]:
        """Everything that a name such as lab.tests.test_x, or one of its classes or tests, stands for."""
        units = self._once(self._load(asked))
        for name in [name for name, unit in units.items() if unit.wrong]:
            what = asked if asked.startswith(f"{name}.") else name  # a single test of the class, if no more was asked for
            turn = 0
            while (unit := units.get(name)) and unit.wrong and self._excused(unit, what, turn):
                turn += 1
                self.repeated.append(name)
                del units[name]
                self._wait_quiet()
                units.update(self._once(self._load(what)))
        return list(units.values())

    def _excused(self, unit: Unit, what: str, turn: int) -> bool:
        """Whether its failures cannot be judged and it may be run once more. The first decides: where no stall excuses it, nothing
        is to be gained, and its window is part of all the others'."""
        first = min(unit.wrong.values(), key=lambda wrong: wrong.until)
        # The classes of a module have been judged by the time that its tear-down fails; what could not be imported has no tests.
        if first.name.startswith("tearDownModule") or not self._load(what).countTestCases():
            return False
        stalls = self._witness.stood_still(unit.since, first.until)
        if not stalls:
            return False
        longest = max(stalls, key=lambda stall: stall.ms)
        told, name = f"the machine stood still {longest} while {first.name} or what came before it in its class ran", short(what)
        if turn >= AGAIN or len(self.repeated) >= IN_ALL:
            done = f"it was run again {turn} times" if turn >= AGAIN else f"{IN_ALL} classes were run again before"
            self._say(f"{name} has failed: {told}, but {done}")
            return False
        self._say(f"{name} again ({turn + 1} of {AGAIN}): {told}, so what it saw cannot be judged")
        return True

    def _wait_quiet(self) -> None:
        begin = time.monotonic()
        while self._witness.stood_still(max(begin, time.monotonic() - QUIET_S), time.monotonic()) or time.monotonic() < begin + QUIET_S:
            if time.monotonic() >= begin + PATIENCE_S:
                return
            time.sleep(min(1.0, QUIET_S / 10))

    def closing(self) -> None:
        """How often the machine stood still, and what came of it."""
        stalls = self._witness.stood_still(self._since, time.monotonic())
        longest = f", the longest {max(stalls, key=lambda stall: stall.ms)}" if stalls else ""
        seen = f"stalls of the machine: {len(stalls)}{longest}" if self._witness.watchers else "stalls of the machine: no witness"
        self._say(f"{seen}; classes run again: {', '.join(map(short, self.repeated)) or 'none'}")

    def _load(self, name: str) -> unittest.TestSuite:
        return unittest.TestLoader().loadTestsFromName(name)

    def _once(self, suite: unittest.TestSuite) -> dict[str, Unit]:
        return unittest.TextTestRunner(verbosity=2, stream=self._stream, resultclass=Result).run(suite).units

    def _say(self, words: str) -> None:
        print(f"== lab: {words}", file=self._stream, flush=True)


def short(name: str) -> str:
    return name.removeprefix(PACKAGE)


def told(units: list[Unit]) -> list[str]:
    """Each failed test and what it said, without the way there."""
    return [f"{wrong.name}\n{cut(wrong.why)}" for unit in units for wrong in unit.wrong.values()]


def cut(text: str) -> str:
    """Both ends of what is too long: an assertion's message is behind what it compared."""
    return text if len(text) <= WORDS else f"{text[:WORDS // 2]} … {text[-WORDS // 2:]}"
