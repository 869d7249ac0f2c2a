# SPDX-License-Identifier: Apache-2.0
"""``headrace probe``: benchmark before you commit. Measures a store through the loader's own client
and predicts how long a training job's GPUs will wait for it.

``Probe(url, work=Work(...)).run()`` gives the document that ``--json`` prints; docs/probe.md has
its keys, the model and how it was tested. prices.py, figures.py, model.py and verdict.py are
arithmetic only and serve ``headrace plan`` too; measure.py and loader_rate.py talk to the store.
"""

from headrace.probe.figures import StoreFigures, lognormal, read_figures
from headrace.probe.model import Forecast, Job, forecast
from headrace.probe.report import Probe
from headrace.probe.verdict import Verdict, Work, judge

__all__ = [
    "Forecast",
    "Job",
    "Probe",
    "StoreFigures",
    "Verdict",
    "Work",
    "forecast",
    "judge",
    "lognormal",
    "read_figures",
]
