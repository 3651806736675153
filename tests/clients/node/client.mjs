// Use the API as the openai package does; print what came as one line of JSON.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const question = {
  model: "lab-tiny",
  messages: [{ role: "user", content: "Hello." }],
  max_tokens: 12,
  seed: 5,
};

const models = (await client.models.list()).data.map((model) => model.id);
const whole = await client.chat.completions.create(question);
let streamed = "";
let usage = 0;
const stream = await client.chat.completions.create({
  ...question,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage?.total_tokens ?? usage;
}
const vectors = await client.embeddings.create({ model: "all-MiniLM-L6-v2", input: "A cat." });
const failure = await client.chat.completions
  .create({ ...question, model: "lab-tinny" })
  .catch((error) => error);

console.log(
  JSON.stringify({
    models,
    whole: whole.choices[0].message.content,
    streamed,
    usage,
    dimensions: vectors.data[0].embedding.length,
    status: failure.status,
    message: failure.message,
  }),
);
