"""Makes OpenLLM's environment of a bento before it is asked for: it would install one as it starts, from the network.

    prepare.py TAG FOLDER      FOLDER has the bento's packages already (bin/python and so on)

OpenLLM looks for an environment under a name that it computes from the bento's requirements, and takes one that is
marked DONE as it is.
"""

import sys
from pathlib import Path

from openllm.common import EnvVars
from openllm.model import ensure_bento
from openllm.venv import VENV_DIR, _resolve_bento_venv_spec

tag, folder = sys.argv[1], Path(sys.argv[2])
spec = _resolve_bento_venv_spec(ensure_bento(tag), runtime_envs=EnvVars({}))
(VENV_DIR / str(hash(spec))).symlink_to(folder)
(folder / "DONE").touch()
