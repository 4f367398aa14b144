"""Tables, figures and tests, made from the files of ``results/<experiment>/`` alone.

:mod:`~e2mc.plan.needs` says which evaluations each of them is made from and is all that the
workflow imports while it plans; the modules that write import pandas or matplotlib.

A table goes three steps: its numbers become a data frame, which is its CSV file; the data frame
is laid out as a :class:`~e2mc.reporting.table.Table`; :mod:`~e2mc.reporting.latex` and
:mod:`~e2mc.reporting.html` render that. :mod:`~e2mc.reporting.tables` lists them all.
"""
