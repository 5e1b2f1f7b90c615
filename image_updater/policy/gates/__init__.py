"""What must hold before a tag may be written: one gate a file, each with a reason, and a time where there is one.

Pure. A gate looks at one tag, its facts, and the situation of its policy (`gating.py` puts them together); some look at
no tag at all (windows, freezes). A reason continues a sentence that begins with `<tag> is`; of a gate that stops the
whole policy it is a sentence of its own.
"""
