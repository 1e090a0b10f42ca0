"""What a bundle says to whoever opens it without knowing what it is."""

README = """\
This is a bundle of events from the log of an AlphaPulse. It proves by itself what it holds.

    python3 verify.py BUNDLE.tar.gz --key KEY

needs Python 3.8 or later and nothing else. It says VALID, INVALID (and where), or VALID BUT INCOMPLETE (and
what is missing). KEY is the log's public key; take it from a place other than this bundle, such as a page of
whoever runs the log, or a checkpoint that you kept. The key that the bundle names is in manifest.json. Better
take verify.py from elsewhere, too: whoever forges a bundle can forge the script in it.

manifest.json      what was asked for, how much was found, and SHA-256 of every other file
checkpoint         the size and the root of the tree over the whole log, signed (C2SP tlog-checkpoint)
signals.txt        how many signals each strategy had issued by then; the checkpoint holds its SHA-256
events/*.jsonl     a line for each event: its columns, the stored bytes, and what they say;
                   and a line for each gap: the hashes of the tree that stand for events that are not here
consistency.json   that the log goes on from a checkpoint that you had before
anchors/*.json     what others said of earlier checkpoints, and when: a time that is not the log's own
events.csv, events.parquet   the same events as tables
evidence.json      of one signal: what it was made of, and what became of it

All events and gaps in order give the root of the checkpoint (RFC 6962): none can be changed, added or left
out unseen. "erased": the payload was deleted, its hash stands. "withheld": the payload is told later.

Not proven: that what a venue told was true, or that anybody traded on a signal.
"""
