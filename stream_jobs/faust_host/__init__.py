"""What the four Faust jobs share: a transport that reads committed records only, one loop, one way to end.

A job is plain: it handles one record at a time, sends through an ``Outbox``, reads whole topics through a ``TopicLog``,
and says which records are finished. Only this package knows Faust.
"""
