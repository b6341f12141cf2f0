// The official OpenAI client for Node against a running gateway. Prints one JSON object.
// Arguments: base URL, chat model, embedding model.
import OpenAI from "openai";

const [baseURL, chatModel, embeddingModel] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "Say hello." }];

const cosine = (a, b) => {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

const chat = await client.chat.completions.create({ model: chatModel, messages, max_tokens: 8 });

let streamed = "";
let finish = null;
let usage = null;
const stream = await client.chat.completions.create({
  model: chatModel, messages, max_tokens: 8, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
  usage = chunk.usage ?? usage;
}

const vectors = await client.embeddings.create({
  model: embeddingModel, input: ["a cat", "a small kitten", "the stock market fell"],
});
const [cat, kitten, stocks] = vectors.data.map((item) => item.embedding);

let models = 0;
for await (const model of client.models.list()) models += model.id ? 1 : 0;

let missing = null;
try {
  await client.chat.completions.create({ model: "no-such-model", messages });
} catch (error) {
  missing = { status: error.status, code: error.code, request_id: Boolean(error.requestID) };
}

console.log(JSON.stringify({
  chat: chat.choices[0].message.content, streamed, finish, usage, models, missing,
  dimensions: cat.length, kitten: cosine(cat, kitten), stocks: cosine(cat, stocks),
}));
