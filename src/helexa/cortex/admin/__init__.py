"""The operator's API: what is true of this cortex, as JSON. Reading only."""
