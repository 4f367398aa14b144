"""Tables, figures and tests, made from the files of ``results/<experiment>/`` alone.

:mod:`~e2mc.plan.needs` says which evaluations each of them is made from and is all that the
workflow imports while it plans; the modules that write import pandas or matplotlib.
"""
