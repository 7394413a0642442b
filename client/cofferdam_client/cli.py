import importlib.util, os, sys
from cofferdam_runtime.entry import BOOT
def main():
    path = sys.argv[sys.argv.index("-c") + 1]
    roots = [os.path.dirname(list(importlib.util.find_spec(p).submodule_search_locations)[0]) for p in ("cofferdam_contracts","cofferdam_runtime","cofferdam_broker","cofferdam_config","cofferdam_frontend","cofferdam_kim","cofferdam_providers","msgpack")]
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT, ":".join(roots), "cofferdam_broker", path], os.environ)
