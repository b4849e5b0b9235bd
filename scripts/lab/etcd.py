"""Three members of etcd in the management namespace of a lab, with TLS: configs/cluster/etcd*.env, another address and folder."""
import os
import subprocess
import time
from pathlib import Path

from .shell import ROOT, LabError, run, stop

NODE, ADDRESS = "mg", "10.255.0.30"
MEMBERS = ("etcd1", "etcd2", "etcd3")
SOURCE = ROOT / "configs" / "cluster"


def section(folder: Path, engine: str) -> dict:
    """The engine's [cluster]."""
    return {
        "region": "lab", "store": "etcd",
        "endpoints": [f"https://{ADDRESS}:{port}" for port in (2379, 22379, 32379)],
        "ca": str(folder / "pki/etcd-ca.pem"),
        "cert": str(folder / f"pki/{engine}.pem"),
        "key": str(folder / f"pki/{engine}.key"),
    }


def make_pki(folder: Path) -> None:
    """etcd's own CA and the certificate that its members share, beside the engines'."""
    def openssl(*argv):
        run("openssl", *argv, timeout=20)
    ca, key, request, cert = (str(folder / name) for name in ("etcd-ca.pem", "etcd.key", "etcd.csr", "etcd.pem"))
    ca_key, extensions = str(folder / "etcd-ca.key"), folder / "etcd.ext"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=lab etcd CA", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", ca_key, "-out", ca)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=etcd",
            "-keyout", key, "-out", request)
    extensions.write_text(f"subjectAltName=IP:{ADDRESS},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
            "-extfile", str(extensions), "-out", cert)


class Etcd:
    """The members; ended with the lab."""

    def __init__(self, topo):
        self._topo, self._processes = topo, {}
        make_pki(topo.dir / "pki")
        run(*topo.exec(NODE, "ip", "address", "add", f"{ADDRESS}/24", "dev", "br-mgmt"))

    def start(self, *members: str) -> None:
        """Start members, all of them if none is named; they are ready when there is a leader."""
        for member in members or MEMBERS:
            with open(self._topo.dir / f"{member}.log", "ab") as log:
                process = subprocess.Popen(self._topo.exec(NODE, "etcd"), env=os.environ | self._environment(member),
                                           cwd=self._topo.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._topo.on_close(stop, process)
            self._processes[member] = process

    def kill(self, *members: str) -> None:
        """kill -9, all of them if none is named."""
        for member in members or MEMBERS:
            self._processes[member].kill()
        for member in members or MEMBERS:
            self._processes[member].wait()

    def wait_leader(self, timeout_s: float = 20.0) -> str:
        """The leader's name, when the members that live agree on one."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            leaders = [m for m, p in self._processes.items() if p.poll() is None and self._leads(m)]
            if len(leaders) == 1:
                return leaders[0]
            time.sleep(0.1)
        raise LabError(f"etcd has no leader after {timeout_s:.0f} s: see {self._topo.dir}/etcd*.log")

    def _leads(self, member: str) -> bool:
        pki, port = self._topo.dir / "pki", self._environment(member)["ETCD_LISTEN_CLIENT_URLS"].rsplit(":", 1)[1]
        page = run(*self._topo.exec(NODE, "curl", "-s", "-m", "2", "--cacert", pki / "etcd-ca.pem",
                                    "--cert", pki / "a1.pem", "--key", pki / "a1.key",
                                    f"https://{ADDRESS}:{port}/metrics"), check=False, timeout=5).stdout
        return "\netcd_server_is_leader 1\n" in page

    def _environment(self, member: str) -> dict[str, str]:
        """The member's file, at the lab's address; a path in it is relative to the lab's folder."""
        lines = (SOURCE / f"{member}.env").read_text().splitlines()
        pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return {name: value.replace("127.0.0.1", ADDRESS) for name, value in pairs}
