"""Where weights come from and what they need: sources, folders, headers, memory.

source     what a `source =` string means (pure)
catalogue  weights known by a short name (pure)
gguf       reading the header of a GGUF file (pure)
summary    what a header means for serving (pure)
memory     what an engine will need (pure)
jail       the rule that weights stay inside the model folders
store      a source becomes a checked file on disk: once, whole, or not at all
pull       the same for the command line
"""
