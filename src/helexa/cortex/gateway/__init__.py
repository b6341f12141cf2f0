"""The front door: OpenAI's API in, bytes from neurons out."""
