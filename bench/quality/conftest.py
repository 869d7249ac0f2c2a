# SPDX-License-Identifier: Apache-2.0
"""The study's scripts are no package: their tests find them here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
