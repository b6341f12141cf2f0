"""Finds the text that is nearest in meaning: python search.py "a young cat"."""

import os
import sys

from openai import OpenAI

TEXTS = ["the kitten sleeps", "stocks fell today", "how to bake bread"]

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)
asked = sys.argv[1] if len(sys.argv) > 1 else "a young cat"
answer = client.embeddings.create(model="all-minilm-l6-v2", input=[asked, *TEXTS])
question, *candidates = (item.embedding for item in answer.data)
likeness = [sum(a * b for a, b in zip(question, one, strict=True)) for one in candidates]
print(TEXTS[likeness.index(max(likeness))])
