"""A short campaign of scripts/kills: real engines, every hazard once, and no nonce twice."""
import unittest

from ..kills import HAZARDS, Rounds


class Kills(unittest.TestCase):
    def test_no_nonce_repeats_whatever_happens_to_the_owner(self):
        with Rounds(seed=1) as lab:
            for hazard in HAZARDS:
                print(f"\n{lab.round(hazard)}", end="", flush=True)
            done = lab.judge()
        print(f"\n{done}", flush=True)
        self.assertEqual(done.verdict.repeats, [])
        self.assertGreater(done.verdict.nonces, 500)
        self.assertEqual((done.verdict.forged, done.verdict.unknown_spi), (0, 0), "a key is missing: the oracle was blind")
