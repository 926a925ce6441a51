"""The pure core: what is anomalous, and what to do about it.

No I/O, no clock, no broker, no database. The shells in ``stream_jobs`` and ``services`` bring events in and carry
outcomes out; the same step runs live, in shadow and in a backtest.
"""
