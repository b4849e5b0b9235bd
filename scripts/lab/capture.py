"""scripts/replay-capture: captures of real traffic through the walk, every packet accounted for.

The captures are those that nDPI tests its classifiers with: two hundred recordings of applications, tunnels, broken and
hostile packets. They come with Debian's source package of nDPI (121 MiB, fetched and verified by apt, kept in
target/captures), as their licences are unclear they are not committed. --folder takes others."""
import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from .shell import ROOT, LabError, run

PACKAGE, ARCHIVE = "ndpi=4.2-2", "ndpi_4.2.orig.tar.gz"
SHA256 = "e54ce8fe13adc5d747be7553513657fae78f796e0bd459e122c280cc06ce4daf"
SOURCES = "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
INSIDE = "/tests/pcap/"
KEPT = ROOT / "target" / "captures"
# What replays them, for cargo: of the whole workspace, as built for its other tests.
TEST = ("test", "--workspace", "--test", "capture", "--", "--ignored", "--nocapture")


def fetch(kept: Path) -> Path:
    """The folder of the captures; raises LabError where they cannot be had."""
    captures, archive = kept / "pcap", kept / ARCHIVE
    if captures.is_dir():
        return captures
    kept.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        apt(kept)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        archive.unlink()
        raise LabError(f"{ARCHIVE} has SHA-256 {found}, not {SHA256}: removed, try again")
    fresh = kept / "pcap.new"
    fresh.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and INSIDE in member.name:
                name = Path(member.name).name
                (fresh / name).write_bytes(tar.extractfile(member).read())
    fresh.rename(captures)
    archive.unlink()
    return captures


def apt(kept: Path) -> None:
    """Debian's source package, through an apt with sources and caches of its own: the system's stay as they are."""
    own = kept / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (own / folder).mkdir(parents=True, exist_ok=True)
    (own / "sources.list").write_text(SOURCES)
    options = ["-q", "-o", f"Dir::Etc::SourceList={own}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
               "-o", f"Dir::State::Lists={own}/lists", "-o", f"Dir::Cache={own}/cache", "-o", "APT::Sandbox::User=root"]
    run("apt-get", *options, "update", timeout=300)
    done = subprocess.run(["apt-get", *options, "source", "--download-only", "--tar-only", PACKAGE], cwd=kept,
                          capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise LabError(f"apt-get source {PACKAGE}: {done.stderr.strip()}")


def environment(folder: Path) -> dict:
    """What the test asks for."""
    return {"FORESHIFT_CAPTURES": str(folder.resolve())}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/replay-capture", description=__doc__)
    parser.add_argument("--folder", type=Path, help="captures of your own (.pcap, .pcapng) instead")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where fetched ones are kept")
    args = parser.parse_args(argv)
    try:
        folder = args.folder or fetch(args.kept)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"replay-capture: {error}") from error
    return subprocess.run(["cargo", *TEST], cwd=ROOT, env=os.environ | environment(folder)).returncode


if __name__ == "__main__":
    sys.exit(main())
