"""Makes a Milvus server of the package `milvus`, which carries it packed: unpack.py FOLDER.

FOLDER/bin has the program and its libraries, FOLDER/configs its settings; environment variables go before those.
"""

import lzma
import re
import sys
from importlib.util import find_spec
from pathlib import Path

DATA = "/var/lib/milvus"
SETTINGS = {
    "etcd_data_dir": f"{DATA}/etcd",
    "local_storage_dir": f"{DATA}/data",
    "rocksmq_data_dir": f"{DATA}/rdb_data",
    "system_log_path": '""',
}


def main(folder: Path) -> None:
    """Every packed file, and the settings with their defaults."""
    spec = find_spec("milvus")
    assert spec is not None
    assert spec.origin is not None
    packed = Path(spec.origin).parent / "data"
    for name in ("bin", "configs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for one in (packed / "bin").glob("*.lzma"):
        out = folder / "bin" / one.stem
        out.write_bytes(lzma.decompress(one.read_bytes()))
        out.chmod(0o755)
    template = (packed / "config.yaml.template").read_text()
    (folder / "configs/milvus.yaml").write_text(re.sub(r"\{\{(.*?)\}\}", _setting, template))
    (folder / "configs/glog.conf").write_bytes((packed / "glog.conf").read_bytes())


def _setting(found: re.Match[str]) -> str:
    """`{{ name(type): default }}`."""
    name, _, default = found.group(1).partition(":")
    return SETTINGS.get(name.strip().split("(")[0], default.strip())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
