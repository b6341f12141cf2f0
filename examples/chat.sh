#!/bin/sh
# A streamed answer with nothing but curl: sh chat.sh
set -eu
curl -sS --fail-with-body "${OPENAI_BASE_URL:-http://127.0.0.1:8080/v1}/chat/completions" \
  -H "authorization: Bearer ${OPENAI_API_KEY:-none}" -H 'content-type: application/json' -d '{
  "model": "smollm2-135m",
  "messages": [{"role": "user", "content": "Say hello."}],
  "max_tokens": 32,
  "stream": true
}'
