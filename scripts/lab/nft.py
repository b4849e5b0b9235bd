"""libnftables in process: a rule change or a counter read costs about a millisecond, not a fork."""
import ctypes
import ctypes.util
import json

from .shell import LabError, in_netns

NFT_CTX_DEFAULT = 0
NFT_CTX_OUTPUT_JSON = 1 << 4


class Nft:
    """One handle to the nftables of a namespace. Not for use by two threads at once."""

    def __init__(self, netns: str):
        path = ctypes.util.find_library("nftables") or "libnftables.so.1"
        try:
            self._lib = ctypes.CDLL(path)
        except OSError as err:
            raise LabError(f"libnftables not found ({err}): run scripts/setup") from err
        self._lib.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._lib, name).restype = ctypes.c_char_p
        with in_netns(netns):  # the netlink socket is opened here and stays in that namespace
            self._ctx = ctypes.c_void_p(self._lib.nft_ctx_new(NFT_CTX_DEFAULT))
        self._lib.nft_ctx_buffer_output(self._ctx)
        self._lib.nft_ctx_buffer_error(self._ctx)

    def run(self, commands: str, as_json: bool = False) -> str:
        """Run commands as one transaction: all of them take effect, or none."""
        self._lib.nft_ctx_output_set_flags(self._ctx, NFT_CTX_OUTPUT_JSON if as_json else 0)
        code = self._lib.nft_run_cmd_from_buffer(self._ctx, commands.encode())
        out = self._lib.nft_ctx_get_output_buffer(self._ctx).decode()
        if code != 0:
            raise LabError("nft: " + self._lib.nft_ctx_get_error_buffer(self._ctx).decode().strip())
        return out

    def counters(self, table: str) -> dict[str, int]:
        """Packets by named counter of one bridge-family table."""
        listed = json.loads(self.run(f"list counters table bridge {table}", as_json=True))
        return {c["counter"]["name"]: c["counter"]["packets"] for c in listed["nftables"] if "counter" in c}
