# SPDX-License-Identifier: Apache-2.0
"""Can this machine mount?"""

from __future__ import annotations

import os
import shutil

from headrace.mount import mount_program


def _why_not() -> str:
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse on this machine"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "not root, and no fusermount3"
    try:
        mount_program()
    except FileNotFoundError as missing:
        return str(missing)
    return ""


WHY_NOT = _why_not()
