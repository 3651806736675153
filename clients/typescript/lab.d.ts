// Generated from schemas/ by scripts/generate-typescript; do not edit.

/**
 * What a token or key may do.
 */
export type Scope = "custom:lab:infer" | "custom:lab:memory" | "custom:lab:admin";
/**
 * Why the model stopped, in OpenAI's words; `content_filter` = a guard of the lab stopped it, and `guard` says which.
 */
export type FinishReason = "stop" | "length" | "tool_calls" | "content_filter" | "cancelled";
/**
 * A watch over an answer that stops it where the model runs in circles.
 */
export type Guard = "repetition" | "stutter" | "perplexity" | "json_loop";
/**
 * Who speaks; `developer` is read as `system`.
 */
export type OpenAIRole = "system" | "developer" | "user" | "assistant" | "tool";
/**
 * What form an answer has.
 */
export type ResponseKind = "text" | "json_object" | "json_schema";
/**
 * Whether the model calls tools.
 */
export type ToolChoiceMode = "auto" | "none" | "required";
/**
 * `parallel`: all answer at once; `series`: each sees what those before it said.
 */
export type TeamMode = "parallel" | "series";
/**
 * Form of the weights: linear layers in 8 or 4 bits, or, with `offload`, the decoder layers that do not fit in the CPU's memory (for a CPU: on disk), from where each step fetches them; `auto` = the first of none, int8, nf4 and offload that fits.
 */
export type Quantization = "none" | "int8" | "nf4" | "offload" | "auto";
/**
 * Who speaks in a message.
 */
export type Role = "system" | "user" | "assistant" | "tool";
/**
 * What becomes of an answer whose client is gone.
 */
export type Disconnect = "cancel" | "continue";
/**
 * What computes: `onnx` runs models of BERT's family on a CPU, `torch` any; `auto` = onnx where it can.
 */
export type EmbeddingEngine = "auto" | "torch" | "onnx";
/**
 * `int8` computes in 8 bits (onnx only): twice as fast, vectors that are not compared with those of `none`.
 */
export type EmbeddingQuantization = "none" | "int8";
/**
 * Take less memory and more time: pictures are decoded in tiles, and on a GPU weights come from the host's memory when they are due; `auto` = where the model does not fit otherwise.
 */
export type LowMemory = "auto" | "on" | "off";
/**
 * `cross_encoder` reads one score, `yes_no` how much likelier a language model says yes; `auto` = what its config and name say.
 */
export type RerankMethod = "auto" | "cross_encoder" | "yes_no";
/**
 * Whose words an endpoint speaks beside those of OpenAI.
 */
export type RemoteKind = "openai" | "vllm" | "llama.cpp" | "ollama" | "transformers" | "lab";
/**
 * Who searches the web; `local` looks through the pages that the lab read already.
 */
export type SearchProviderKind = "local" | "searxng" | "brave" | "serper" | "google" | "duckduckgo";
/**
 * How a summary is written.
 */
export type SummaryStyle = "key_points" | "summary" | "brief" | "master";
/**
 * What was decided about a model's memory.
 */
export type DecisionKind = "loaded" | "evicted" | "unloaded" | "waiting" | "refused" | "failed" | "learned";
/**
 * Where a tool for a wish came from: it was there, was written from one that was there, or from nothing.
 */
export type DynamicToolOrigin = "reused" | "modified" | "written";
/**
 * How a vector is written.
 */
export type EncodingFormat = "float" | "base64";
/**
 * Whether the texts are questions or what is to be found: some models want another prefix for each.
 */
export type InputType = "query" | "document";
/**
 * What runs a model: the lab's own batch, a server elsewhere, or vLLM or llama.cpp under the lab.
 */
export type Engine = "lab" | "remote" | "vllm" | "llama.cpp";
/**
 * Where a run stands.
 */
export type RunStatus = "queued" | "running" | "completed" | "failed" | "cancelled" | "interrupted";
/**
 * What happened in a run.
 */
export type EventType =
  | "run_started"
  | "intent"
  | "receipt"
  | "stage"
  | "todos"
  | "image"
  | "member"
  | "content"
  | "thinking"
  | "tool_call_delta"
  | "tool_call"
  | "tool_started"
  | "tool_finished"
  | "usage"
  | "message_stored"
  | "research_step"
  | "run_completed"
  | "run_failed"
  | "run_cancelled"
  | "run_interrupted";
/**
 * What becomes of a new thread whose id is taken.
 */
export type IfExists = "raise" | "do_nothing";
/**
 * What becomes of a run for a thread that is not there.
 */
export type IfNotExists = "create" | "reject";
/**
 * What happened while pictures are made.
 */
export type ImageEventType = "progress" | "image_generation.completed" | "image_edit.completed";
/**
 * What a message wants.
 */
export type Intent =
  "chat" | "research" | "analysis" | "creative" | "engineering" | "planning" | "image_generation" | "image_editing";
/**
 * Where a piece of the window comes from.
 */
export type SourceKind = "system" | "document" | "summary" | "memory" | "fact" | "recent" | "question";
/**
 * One part of a message.
 */
export type MessagePart = TextPart | ThinkingPart | ImagePart | AudioPart | FilePart | ToolCallPart | ToolResultPart;
/**
 * A message to store, with the moment when it was said.
 */
export type SaidMessage = ChatMessage & {
  /**
   * When it was said, with its time zone; null for now.
   */
  said_at?: string | null;
};
/**
 * What a model can do.
 */
export type Task = "chat" | "embedding" | "image" | "rerank" | "speech" | "transcription";
/**
 * What becomes of a run for a thread in which another one goes on: it is refused, or the other one is cancelled first.
 */
export type MultitaskStrategy = "reject" | "interrupt";
/**
 * Whether a thread is kept when its run has ended.
 */
export type OnCompletion = "delete" | "keep";
/**
 * Who chose the workflow of a turn: its request, its profile, the intent of its message, or nobody.
 */
export type RouteSource = "request" | "profile" | "intent" | "default";
/**
 * What a step of research does.
 */
export type ResearchStepKind = "plan" | "search" | "gather" | "analyse" | "synthesise" | "verify";
/**
 * Where a model is between coming and going.
 */
export type ResidencyState = "loading" | "resident" | "leaving";
/**
 * What a run does.
 */
export type RunKind = "chat" | "evaluation" | "research";
/**
 * Why code in the sandbox ended: it was done, it raised an error, its time, memory or room for files was used up, or it was killed.
 */
export type SandboxEnd = "done" | "error" | "time" | "memory" | "room" | "killed";
/**
 * How speech is written; `pcm` = 16 bits, little-endian, without a header.
 */
export type SoundFormat = "wav" | "flac" | "mp3" | "pcm";
/**
 * What a stream of a run tells: the thread's messages as they change, the answer piece by piece (whole so far, or only what is new), what each step returned, or every event of the lab.
 */
export type StreamMode = "values" | "messages" | "messages-tuple" | "updates" | "custom";
/**
 * Where a thread stands: nothing runs, something does, the last run waits to be gone on with, or it failed.
 */
export type ThreadStatus = "idle" | "busy" | "interrupted" | "error";
/**
 * Where a run of a thread stands: pending until it ends; a cancelled one is interrupted.
 */
export type ThreadRunStatus = "pending" | "error" | "success" | "timeout" | "interrupted";
/**
 * Where a todo stands.
 */
export type TodoStatus = "pending" | "in_progress" | "completed";
/**
 * What happened while a recording is heard.
 */
export type TranscriptionEventType = "progress" | "transcript.text.delta" | "transcript.text.done";
/**
 * `json` = the text, `verbose_json` with language, length and segments; `srt` and `vtt` are subtitles.
 */
export type TranscriptionFormat = "json" | "text" | "srt" | "verbose_json" | "vtt";
/**
 * Why a page was not read; `unread` = a limit of the whole reading was reached before.
 */
export type WebFailureReason =
  | "address"
  | "blocked"
  | "robots"
  | "unreachable"
  | "timeout"
  | "too_large"
  | "media_type"
  | "redirects"
  | "status"
  | "unreadable"
  | "empty"
  | "unread"
  | "crashed"
  | "no_snapshot";

/**
 * A profile, as the Agent Protocol writes it.
 */
export interface Agent {
  /**
   * Name of the profile.
   */
  agent_id: string;
  /**
   * The same.
   */
  name: string;
  /**
   * One line for people.
   */
  description?: string;
  /**
   * Its model and workflow.
   */
  metadata?: {
    [k: string]: unknown;
  };
  /**
   * What it can: messages, and streams.
   */
  capabilities: {
    [k: string]: unknown;
  };
}
/**
 * What an agent takes and gives, as JSON Schemas.
 */
export interface AgentSchemas {
  /**
   * Name of the profile.
   */
  agent_id: string;
  /**
   * Of `input`.
   */
  input_schema: {
    [k: string]: unknown;
  };
  /**
   * Of `values`.
   */
  output_schema: {
    [k: string]: unknown;
  };
  /**
   * Of the values of its threads.
   */
  state_schema?: {
    [k: string]: unknown;
  };
  /**
   * Of `config.configurable`.
   */
  config_schema?: {
    [k: string]: unknown;
  };
}
/**
 * Which agents to list, by name.
 */
export interface AgentSearchRequest {
  /**
   * What their name holds.
   */
  name?: string | null;
  /**
   * What their metadata holds.
   */
  metadata?: {
    [k: string]: unknown;
  } | null;
  /**
   * Most of them.
   */
  limit?: number;
  /**
   * How many to leave out first.
   */
  offset?: number;
}
/**
 * A key for clients outside the hub; only its hash is stored.
 */
export interface ApiKey {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * What it is for.
   */
  name: string;
  /**
   * First characters, to recognise it.
   */
  prefix: string;
  /**
   * What it may do.
   */
  scopes: Scope[];
  /**
   * When it was made.
   */
  created_at: string;
  /**
   * When it ends; null for never.
   */
  expires_at?: string | null;
  /**
   * When it was last used.
   */
  last_used_at?: string | null;
}
/**
 * A new API key with its secret, shown this once.
 */
export interface ApiKeyCreated {
  api_key: ApiKey;
  /**
   * Send it as `Authorization: Bearer …`.
   */
  secret: string;
}
/**
 * A new API key.
 */
export interface ApiKeyRequest {
  /**
   * What it is for.
   */
  name: string;
  /**
   * What it may do; not more than the caller. Unset: ask and remember, as far as the caller may.
   *
   * @minItems 1
   */
  scopes?: [Scope, ...Scope[]];
  /**
   * When it ends; null for never. Unset: with the token that makes it.
   */
  expires_at?: string | null;
}
/**
 * The reply to a run that asks whether tools may be called.
 */
export interface Approval {
  /**
   * Whether the calls may run; the model is told where they may not.
   */
  approve: boolean;
  /**
   * Why not, for the model to read.
   */
  reason?: string | null;
  /**
   * Other arguments to call with, whole, by the id of the call.
   */
  arguments?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
}
/**
 * What a run asks that waits for the user to allow calls of tools.
 */
export interface ApprovalRequest {
  /**
   * Says that it is this.
   */
  kind: "approval";
  /**
   * The calls.
   *
   * @minItems 1
   */
  calls: [ToolCall, ...ToolCall[]];
}
/**
 * A call of a tool that the model asks for.
 */
export interface ToolCall {
  /**
   * Identifier of the call, unique in its conversation.
   */
  id: string;
  /**
   * Name of the tool.
   */
  name: string;
  /**
   * Arguments by name.
   */
  arguments: {
    [k: string]: unknown;
  };
}
/**
 * Sound in a message.
 */
export interface AudioPart {
  /**
   * Discriminator.
   */
  type?: "audio";
  /**
   * The sound.
   */
  file_id: string;
}
/**
 * When a model or a tool that keeps failing is not asked for a while.
 */
export interface BreakerConfig {
  /**
   * Failures in a row after which it is not asked; 0 = it always is.
   */
  failures?: number;
  /**
   * Seconds until one request may try it again; succeeds that, all may.
   */
  reset_s?: number;
}
/**
 * Copies of what every request reads: whose a token is, and the settings of users.
 */
export interface CacheConfig {
  /**
   * URL of a Redis that the processes of the lab share; unset = each process keeps its own copies.
   */
  url?: string | null;
  /**
   * Seconds that a copy lives at most; changes made by the lab end it at once.
   */
  ttl_s?: number;
  /**
   * Copies that one process keeps; the longest unused go first.
   */
  max_entries?: number;
  /**
   * Seconds to wait for an answer of Redis before the lab goes on without.
   */
  timeout_s?: number;
}
/**
 * Who a token belongs to and what it may do.
 */
export interface Caller {
  user: User;
  /**
   * What the token may do.
   */
  scopes: Scope[];
  /**
   * When the key ends; null for never and for tokens of the hub, which knows.
   */
  expires_at?: string | null;
}
/**
 * A person or service that owns rows.
 */
export interface User {
  /**
   * Identifier.
   */
  id: string;
  /**
   * Login name.
   */
  name: string;
  /**
   * May administer the lab.
   */
  is_admin: boolean;
  /**
   * May log in.
   */
  is_active: boolean;
  /**
   * Groups on the hub.
   */
  groups?: string[];
  /**
   * When it was created.
   */
  created_at: string;
}
/**
 * A whole answer as OpenAI writes it, and what the lab knows of it.
 */
export interface ChatCompletion {
  /**
   * Identifier of the completion.
   */
  id: string;
  /**
   * Kind of object.
   */
  object?: "chat.completion";
  /**
   * When it was asked for, in seconds since 1970.
   */
  created: number;
  /**
   * What the request asked for.
   */
  model: string;
  /**
   * The answer; this lab gives one.
   */
  choices: ChatCompletionChoice[];
  usage: Usage;
  /**
   * The run and what it stored, such as `run_id`, `profile`, `model`, `seed` and `conversation_id`.
   */
  lab: {
    [k: string]: unknown;
  };
}
/**
 * One answer, as OpenAI writes it.
 */
export interface ChatCompletionChoice {
  /**
   * Place of the answer.
   */
  index?: number;
  message: ChatCompletionMessage;
  /**
   * How likely the model held what it wrote; null where nobody asked.
   */
  logprobs?: ChoiceLogprobs | null;
  finish_reason: FinishReason;
  guard?: Guard;
}
/**
 * What the model said, as OpenAI writes it.
 */
export interface ChatCompletionMessage {
  /**
   * Who speaks.
   */
  role?: "assistant";
  /**
   * The text; null where there are only tool calls.
   */
  content: string | null;
  /**
   * This lab's models answer in the text.
   */
  refusal?: null;
  /**
   * What the model thought before it answered.
   */
  reasoning_content?: string;
  /**
   * Tools that the model wants called.
   */
  tool_calls?: OpenAIToolCall[];
}
/**
 * A tool call in a message, as OpenAI writes it.
 */
export interface OpenAIToolCall {
  /**
   * Identifier of the call.
   */
  id: string;
  /**
   * Kind of call.
   */
  type?: "function";
  function: OpenAIFunctionCall;
}
/**
 * The function of a tool call, as OpenAI writes it.
 */
export interface OpenAIFunctionCall {
  /**
   * Name of the function.
   */
  name: string;
  /**
   * Its arguments as a JSON object in a string.
   */
  arguments: string;
}
/**
 * How likely the model held what it wrote, as OpenAI writes it.
 */
export interface ChoiceLogprobs {
  /**
   * Every token of the answer, reasoning and tool calls included.
   */
  content: TokenLogprob[];
  /**
   * This lab's models answer in the text.
   */
  refusal?: null;
}
/**
 * A token of an answer and how likely the model held it, as OpenAI writes it.
 */
export interface TokenLogprob {
  /**
   * Text of the token; what is no whole character is U+FFFD.
   */
  token: string;
  /**
   * Natural logarithm of its probability by the model alone: before temperature, penalties, bias and format.
   */
  logprob: number;
  /**
   * Bytes of the token in UTF-8; null where the engine gives none.
   */
  bytes: number[] | null;
  /**
   * The most likely tokens at this place, best first: as many as `top_logprobs` asked for.
   */
  top_logprobs: TopLogprob[];
}
/**
 * A token that the model could have written, as OpenAI writes it.
 */
export interface TopLogprob {
  /**
   * Text of the token; what is no whole character is U+FFFD.
   */
  token: string;
  /**
   * Natural logarithm of its probability by the model alone: before temperature, penalties, bias and format.
   */
  logprob: number;
  /**
   * Bytes of the token in UTF-8; null where the engine gives none.
   */
  bytes: number[] | null;
}
/**
 * Tokens and time that one answer cost.
 */
export interface Usage {
  /**
   * Tokens of the prompt, chat template included.
   */
  prompt_tokens: number;
  /**
   * Tokens generated.
   */
  completion_tokens: number;
  /**
   * Sum of both.
   */
  total_tokens: number;
  /**
   * Of the prompt's tokens, those that were not run again; null where that is not known.
   */
  prompt_tokens_details?: PromptTokensDetails | null;
  /**
   * Milliseconds the request waited for a place in the batch.
   */
  queue_ms?: number;
  /**
   * Milliseconds from admission to the first token.
   */
  first_token_ms?: number;
  /**
   * Milliseconds from arrival to the last token.
   */
  total_ms?: number;
  /**
   * True where the engine told no counts, and they are the lab's.
   */
  estimated?: boolean;
}
/**
 * What the tokens of a prompt cost.
 */
export interface PromptTokensDetails {
  /**
   * Those that did not have to be run, since an earlier prompt or answer began with them.
   */
  cached_tokens?: number;
}
/**
 * What OpenAI's clients send to /v1/chat/completions, and the lab's own `conversation_id`, `store`, `memory`, `settings`, `top_k`, `min_p`, `repetition_penalty` and `enable_thinking`.
 */
export interface ChatCompletionRequest {
  /**
   * Profile or model that answers.
   */
  model: string;
  /**
   * The new messages of a stored conversation, or the whole history of a stateless chat.
   *
   * @minItems 1
   */
  messages: [OpenAIMessage, ...OpenAIMessage[]];
  /**
   * Send the answer as it is generated.
   */
  stream?: boolean | null;
  /**
   * Options of the stream.
   */
  stream_options?: StreamOptions | null;
  /**
   * 0 is greedy; unset = the user's or profile's.
   */
  temperature?: number | null;
  /**
   * Nucleus sampling.
   */
  top_p?: number | null;
  /**
   * Sample from this many most likely tokens; 0 for all.
   */
  top_k?: number | null;
  /**
   * Leave out tokens less likely than this share of the likeliest; 0 keeps all.
   */
  min_p?: number | null;
  /**
   * Taken off a token's logit for every time that the answer has it already.
   */
  frequency_penalty?: number | null;
  /**
   * Taken off a token's logit where the answer has it already.
   */
  presence_penalty?: number | null;
  /**
   * Divides a positive and multiplies a negative logit of a token that prompt or answer has; 1 = none.
   */
  repetition_penalty?: number | null;
  /**
   * Added to the logit of a token, by token id; -100 forbids it, 100 forces it.
   */
  logit_bias?: {
    [k: string]: number;
  } | null;
  /**
   * Say how likely the model held each token of its answer.
   */
  logprobs?: boolean | null;
  /**
   * With `logprobs`: name this many of the most likely tokens at each place.
   */
  top_logprobs?: number | null;
  /**
   * Most tokens to generate.
   */
  max_tokens?: number | null;
  /**
   * Most tokens to generate.
   */
  max_completion_tokens?: number | null;
  /**
   * Text or texts that end the answer.
   */
  stop?: string | string[] | null;
  /**
   * Seed of the sampler.
   */
  seed?: number | null;
  /**
   * Answers to generate; the i-th, from 0, is that of seed + i. A conversation keeps the first.
   */
  n?: number | null;
  /**
   * Tools the model may call.
   */
  tools?: OpenAITool[] | null;
  /**
   * `auto`, `none`, `required`, or {"type": "function", "function": {"name": ...}} for one that must be called.
   */
  tool_choice?:
    | string
    | {
        [k: string]: unknown;
      }
    | null;
  /**
   * The form that the answer must have.
   */
  response_format?: ResponseFormat | null;
  /**
   * Ask a model that can to think before it answers.
   */
  enable_thinking?: boolean | null;
  /**
   * A stored conversation; messages are then only the new ones.
   */
  conversation_id?: string | null;
  /**
   * Keep this turn in the conversation (default true).
   */
  store?: boolean | null;
  /**
   * Put what was said earlier before the model; unset = the user's setting.
   */
  memory?: boolean | null;
  /**
   * Settings to try instead of the user's, by section, e.g. {"memory": {"top_k": 30}}.
   */
  settings?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  user?: string | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  metadata?: {
    [k: string]: unknown;
  } | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  parallel_tool_calls?: boolean | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  service_tier?: string | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  safety_identifier?: string | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  prompt_cache_key?: string | null;
}
/**
 * A message of a chat completion request.
 */
export interface OpenAIMessage {
  role: OpenAIRole;
  /**
   * Text, or pieces of text.
   */
  content?: string | (OpenAITextContent | OpenAIImageContent | OpenAIMediaContent)[] | null;
  /**
   * Name of the speaker; empty is none.
   */
  name?: string | null;
  /**
   * Refusal of an earlier answer; not shown to the model.
   */
  refusal?: string | null;
  /**
   * Annotations of an earlier answer; not shown to the model.
   */
  annotations?: unknown[] | null;
  /**
   * Tools that the assistant called.
   */
  tool_calls?: OpenAIToolCall[] | null;
  /**
   * The call that a tool message answers.
   */
  tool_call_id?: string | null;
}
/**
 * A piece of text in a message.
 */
export interface OpenAITextContent {
  /**
   * Kind of content; this lab reads text.
   */
  type: "text";
  /**
   * The text.
   */
  text: string;
}
/**
 * A picture in a message, for models that see.
 */
export interface OpenAIImageContent {
  /**
   * Kind of content.
   */
  type: "image_url";
  image_url: OpenAIImageURL;
}
/**
 * A picture.
 */
export interface OpenAIImageURL {
  /**
   * `data:image/png;base64,…`, or JPEG or WebP; or the http or https address of such a file, which the lab fetches.
   */
  url: string;
  /**
   * Accepted for OpenAI's clients; the model's own processor chooses.
   */
  detail?: string | null;
}
/**
 * A piece of a message that no model of this lab takes, so it is refused.
 */
export interface OpenAIMediaContent {
  /**
   * Kind of content.
   */
  type: "input_audio" | "file";
  [k: string]: unknown;
}
/**
 * Options of a streamed answer.
 */
export interface StreamOptions {
  /**
   * Send a last chunk with the usage.
   */
  include_usage?: boolean;
  /**
   * Accepted and not used.
   */
  include_obfuscation?: boolean;
}
/**
 * A tool of a chat completion request.
 */
export interface OpenAITool {
  /**
   * Kind of tool.
   */
  type?: "function";
  function: OpenAIFunction;
}
/**
 * A function the model may call.
 */
export interface OpenAIFunction {
  /**
   * Its name.
   */
  name: string;
  /**
   * What it does.
   */
  description?: string | null;
  /**
   * JSON Schema of its arguments.
   */
  parameters?: {
    [k: string]: unknown;
  } | null;
  /**
   * Accepted for OpenAI's clients; arguments are held to the schema where `tool_choice` forces a call.
   */
  strict?: boolean | null;
}
/**
 * The form that an answer must have, as OpenAI writes it.
 */
export interface ResponseFormat {
  type: ResponseKind;
  /**
   * With `json_schema`: {"name": ..., "schema": the JSON Schema}; `description` changes nothing, and `strict: false` lets an answer pass that another server did not hold to the schema; the lab's own engine holds every answer to it.
   */
  json_schema?: {
    [k: string]: unknown;
  } | null;
}
/**
 * The default chat model and its batch.
 */
export interface ChatConfig {
  /**
   * Model of the default profile: a catalog name, a Hugging Face id, a folder or a file in GGUF.
   */
  model?: string;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * More models that requests may name, as `model` does; each is loaded when it is first asked for.
   */
  models?: string[];
  /**
   * Profiles of the lab besides the default one and that of each model: objects with `id`, `model` and what else a profile has.
   */
  profiles?: ModelProfile[];
  /**
   * `auto` (an accelerator, else the CPU), or a torch device such as `cpu`, `cuda` or `cuda:0`; of several a model goes where it fits best.
   */
  device?: string;
  /**
   * Number format of the weights; `auto` = float32 on a CPU, else the model's own.
   */
  dtype?: "auto" | "float32" | "bfloat16" | "float16";
  quantization?: Quantization;
  /**
   * Answers generated at the same time; more wait in the queue.
   */
  max_streams?: number;
  /**
   * Requests that may wait; more are refused with 429.
   */
  max_queue?: number;
  /**
   * Prompt tokens admitted in one step while others decode.
   */
  prefill_tokens?: number;
  /**
   * Ended answers whose keys and values stay in memory, so that a prompt that begins like one runs only what is new; 0 = none.
   */
  kept_prompts?: number;
  /**
   * CPU threads of torch; unset = all cores.
   */
  threads?: number | null;
}
/**
 * A model with parameters, system prompt and workflow; what `model` in a request names.
 */
export interface ModelProfile {
  /**
   * Name in requests.
   */
  id: string;
  /**
   * Id of the model.
   */
  model: string;
  /**
   * One line for people.
   */
  description?: string;
  /**
   * System prompt when the request has none; null for none.
   */
  system_prompt?: string | null;
  /**
   * Sampling defaults of the profile.
   */
  parameters?: GenerationParameters | null;
  /**
   * Tokens of the window, at most the model's; null for the model's own.
   */
  context_length?: number | null;
  /**
   * Name of the workflow that answers, or `auto` for the one that fits what a message wants; null for the user's setting `workflow.route`.
   */
  workflow?: string | null;
  /**
   * Profiles that answer each message first, for this one to join; null for none.
   */
  team?: Team | null;
  /**
   * Rounds in which an answer is criticised and written again; null for the user's setting.
   */
  refine?: number | null;
  /**
   * Tools of the lab that the model may call; null for the user's setting in stored conversations, and none in others.
   */
  tools?: string[] | null;
}
/**
 * How to sample an answer.
 */
export interface GenerationParameters {
  /**
   * Most tokens to generate; null for what the window leaves.
   */
  max_new_tokens?: number | null;
  /**
   * 0 is greedy; higher is more random.
   */
  temperature?: number;
  /**
   * Sample from the smallest set of tokens with this probability.
   */
  top_p?: number;
  /**
   * Sample from this many most likely tokens; 0 for all.
   */
  top_k?: number;
  /**
   * Leave out tokens less likely than this share of the likeliest; 0 keeps all.
   */
  min_p?: number;
  /**
   * Taken off a token's logit for every time that the answer has it already.
   */
  frequency_penalty?: number;
  /**
   * Taken off a token's logit where the answer has it already.
   */
  presence_penalty?: number;
  /**
   * Divides a positive and multiplies a negative logit of a token that prompt or answer has; 1 = none.
   */
  repetition_penalty?: number;
  /**
   * Added to the logit of a token, by token id; -100 forbids it, 100 forces it.
   */
  logit_bias?: {
    [k: string]: number;
  };
  /**
   * Say how likely the model held each token of its answer.
   */
  logprobs?: boolean;
  /**
   * With `logprobs`: name this many of the most likely tokens at each place.
   */
  top_logprobs?: number;
  /**
   * Answers to generate; the i-th, from 0, is that of seed + i. A conversation keeps the first.
   */
  n?: number;
  /**
   * Texts that end the answer; not part of it.
   *
   * @maxItems 16
   */
  stop?:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string, string, string]
    | [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string
      ]
    | [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string
      ];
  /**
   * Seed of the sampler; null draws one, which the run records.
   */
  seed?: number | null;
  /**
   * Ask a model that can to think before it answers.
   */
  enable_thinking?: boolean;
  /**
   * The form that the answer must have; null for free text.
   */
  response_format?: ResponseFormat | null;
  /**
   * Whether the model calls the tools it is given; null for `auto`.
   */
  tool_choice?: ToolChoice | null;
  /**
   * When an answer that runs in circles is stopped; null = never. A turn has those of the user's settings.
   */
  guards?: GuardsConfig | null;
}
/**
 * Whether the model calls tools.
 */
export interface ToolChoice {
  mode?: ToolChoiceMode;
  /**
   * With `required`: the tool it must call; null for any of those given.
   */
  name?: string | null;
}
/**
 * When an answer that runs in circles is stopped.
 */
export interface GuardsConfig {
  /**
   * Stop when the answer ends with the same passage (up to 256 tokens) this many times and at least 256 tokens of it; 0 = never.
   */
  repetition?: number;
  /**
   * Stop when the same word comes this many times in a row, with only white space between; 0 = never.
   */
  stutter?: number;
  /**
   * Stop when the model holds what it drew nearly as unlikely as tokens drawn blindly: this share of that surprise (nats), over some 128 tokens; 0 = never.
   */
  perplexity?: number;
  /**
   * Stop JSON whose list has the same element this many times in a row, or that is nested as deep; 0 = never.
   */
  json_loop?: number;
}
/**
 * Profiles that answer before the one that has them, which joins what they say.
 */
export interface Team {
  mode?: TeamMode;
  /**
   * Names of profiles; none of them has a team itself.
   *
   * @minItems 1
   * @maxItems 16
   */
  members:
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string, string, string, string, string, string, string]
    | [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string
      ]
    | [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string
      ];
}
/**
 * A piece of an answer as it is generated; the last one has a finish reason. Of `n` answers the last to end has the usage of all.
 */
export interface ChatDelta {
  /**
   * Which of `n` answers it belongs to.
   */
  index?: number;
  /**
   * Text of the answer.
   */
  content?: string;
  /**
   * Text of the reasoning.
   */
  thinking?: string;
  /**
   * A complete tool call.
   */
  tool_call?: ToolCall | null;
  /**
   * A piece of a tool call that is still being written.
   */
  tool_call_delta?: ToolCallDelta | null;
  /**
   * Tokens sampled since the delta before, where the request asked for them.
   */
  logprobs?: TokenLogprob[];
  /**
   * Set on the last delta.
   */
  finish_reason?: FinishReason | null;
  /**
   * The guard that stopped the answer; on the last delta.
   */
  guard?: Guard | null;
  /**
   * Set on the last delta.
   */
  usage?: Usage | null;
}
/**
 * A piece of a tool call while the model writes it; the whole call follows its last piece.
 */
export interface ToolCallDelta {
  /**
   * Place of the call among those of the answer.
   */
  index: number;
  /**
   * Identifier of the call; on its first piece.
   */
  id?: string | null;
  /**
   * Name of the tool; on its first piece.
   */
  name?: string | null;
  /**
   * The next characters of the arguments' JSON.
   */
  arguments?: string;
}
/**
 * A message as the model's chat template takes it.
 */
export interface ChatMessage {
  role: Role;
  /**
   * Who speaks by name, where several share a role.
   */
  name?: string | null;
  /**
   * The text; null for a message that only calls tools.
   */
  content?: string | null;
  /**
   * Pictures that come with the text, for models that see.
   *
   * @maxItems 64
   */
  images?: MessageImage[];
  /**
   * Tools the assistant calls.
   */
  tool_calls?: ToolCall[];
  /**
   * The call that a tool message answers.
   */
  tool_call_id?: string | null;
}
/**
 * A picture in a message.
 */
export interface MessageImage {
  /**
   * A PNG, JPEG or WebP file in base64, or the http or https address of one, which the lab fetches and keeps in its place.
   */
  data: string;
}
/**
 * A whole answer.
 */
export interface ChatResult {
  /**
   * Text of the answer.
   */
  content: string;
  /**
   * Text of the reasoning.
   */
  thinking?: string;
  /**
   * Tools the model calls.
   */
  tool_calls?: ToolCall[];
  /**
   * Every token of the answer, where the request asked for them.
   */
  logprobs?: TokenLogprob[];
  /**
   * The guard that stopped the answer.
   */
  guard?: Guard | null;
  /**
   * The further answers, where `n` asked for several; `usage` is that of all.
   */
  alternatives?: ChatResult[];
  finish_reason: FinishReason;
  usage: Usage;
}
/**
 * What a caller asks for in one chat turn.
 */
export interface ChatTurn {
  /**
   * Profile or model to answer; null for the lab's default.
   */
  profile?: string | null;
  /**
   * Workflow that answers, or `auto` for the one that fits what the message wants; null for the profile's.
   */
  workflow?: string | null;
  /**
   * The new messages of a conversation, or the whole history of a stateless chat.
   *
   * @minItems 1
   */
  messages: [ChatMessage, ...ChatMessage[]];
  /**
   * The stored conversation; null for a stateless chat.
   */
  conversation_id?: string | null;
  /**
   * Sampling; keys that are not set come from the user's settings and the profile.
   */
  parameters?: GenerationParameters | null;
  /**
   * Tools the model may call.
   */
  tools?: Tool[];
  /**
   * Keep the turn and its embedding in the conversation.
   */
  store?: boolean;
  /**
   * Put memories before the model; null for the user's setting.
   */
  memory?: boolean | null;
  /**
   * Settings to try instead of the user's, by section, e.g. {"memory": {"top_k": 30}}.
   */
  settings?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
  on_disconnect?: Disconnect;
}
/**
 * A tool that the model may call.
 */
export interface Tool {
  /**
   * Name of the tool.
   */
  name: string;
  /**
   * What the tool does, for the model.
   */
  description?: string;
  /**
   * JSON Schema of the arguments.
   */
  parameters?: {
    [k: string]: unknown;
  };
}
/**
 * Every setting of the lab, section by section; users may override the sections of UserConfig.
 */
export interface Config {
  server: ServerConfig;
  data: DataConfig;
  database: DatabaseConfig;
  cache: CacheConfig;
  breaker: BreakerConfig;
  chat: ChatConfig;
  embedding: EmbeddingConfig;
  image: ImageConfig;
  rerank: RerankConfig;
  transcription: TranscriptionConfig;
  speech: SpeechConfig;
  residency: ResidencyConfig;
  remotes: RemotesConfig;
  vllm: VllmConfig;
  llama_cpp: LlamaCppConfig;
  mcp: McpConfig;
  hub: HubConfig;
  evaluation: EvaluationConfig;
  pages: PagesConfig;
  search: SearchConfig;
  sandbox: SandboxConfig;
  limits: LimitsConfig;
  logging: LoggingConfig;
  memory: MemoryConfig;
  documents: DocumentsConfig;
  web: WebConfig;
  context: ContextConfig;
  summaries: SummariesConfig;
  facts: FactsConfig;
  dynamic_tools: DynamicToolsConfig;
  generation: GenerationConfig;
  guards: GuardsConfig;
  tools: ToolsConfig;
  workflow: WorkflowConfig;
  research: ResearchConfig;
  roles: RolesConfig;
}
/**
 * Addresses of the lab.
 */
export interface ServerConfig {
  /**
   * Address the lab listens on; other than loopback it is reachable from the network.
   */
  host?: string;
  /**
   * Port of the one public address (the hub's proxy), or of `lab serve`.
   */
  port?: number;
  /**
   * Port of the hub behind the proxy.
   */
  hub_port?: number;
  /**
   * Port of the proxy's own API.
   */
  proxy_api_port?: number;
  /**
   * Port of the API service behind the proxy.
   */
  api_port?: number;
  /**
   * Port of the dashboards service behind the proxy.
   */
  dashboards_port?: number;
  /**
   * Port of the scheduler's health page.
   */
  scheduler_port?: number;
  /**
   * Seconds that running answers get to finish at shutdown.
   */
  drain_timeout_s?: number;
}
/**
 * Where the lab keeps its files.
 */
export interface DataConfig {
  /**
   * Data folder; unset = /var/lib/llm-ml-lab for root, else the user's data folder.
   */
  folder?: string | null;
  /**
   * Folder of the lab's notebooks; unset = the `notebooks` folder beside the package.
   */
  notebooks_folder?: string | null;
}
/**
 * The database.
 */
export interface DatabaseConfig {
  /**
   * SQLAlchemy or libpq URL of a PostgreSQL with pgvector; unset = the embedded server.
   */
  url?: string | null;
  /**
   * Port of the embedded server.
   */
  port?: number;
  /**
   * OS account that runs the embedded server when the lab is started by root.
   */
  os_user?: string;
  /**
   * Connections each process keeps.
   */
  pool_size?: number;
  /**
   * Days that events of runs are kept; a month goes when all of it is older. Unset = for ever.
   */
  keep_events_days?: number | null;
  /**
   * Days that the usage of models is kept; a month goes when all of it is older. Unset = for ever.
   */
  keep_usage_days?: number | null;
  /**
   * Seconds to wait for a connection.
   */
  connect_timeout_s?: number;
  /**
   * Largest picture, sound or file that is stored for a message or as an image.
   */
  max_file_bytes?: number;
}
/**
 * The embedding model.
 */
export interface EmbeddingConfig {
  /**
   * Catalog name, Hugging Face id or folder of a sentence-transformers model.
   */
  model?: string;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * `auto`, or a torch device.
   */
  device?: string;
  /**
   * Texts embedded together.
   */
  batch_size?: number;
  engine?: EmbeddingEngine;
  quantization?: EmbeddingQuantization;
  /**
   * What stands before a question when it is embedded; unset = what the model's own config says.
   */
  query_prefix?: string | null;
  /**
   * What stands before a text that is stored when it is embedded; unset = what the model's own config says.
   */
  document_prefix?: string | null;
  /**
   * Numbers of a vector, for models that were trained to have theirs cut; unset = the model's own.
   */
  dimensions?: number | null;
  /**
   * The model was trained to have its vectors cut, though its config does not say so.
   */
  matryoshka?: boolean;
}
/**
 * The model that makes pictures.
 */
export interface ImageConfig {
  /**
   * Hugging Face id or folder of a diffusers pipeline; unset = this lab makes no pictures.
   */
  model?: string | null;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * `auto`, or a torch device such as `cpu` or `cuda:0`.
   */
  device?: string;
  /**
   * Number format of the weights; `auto` = float32 on a CPU, else bfloat16.
   */
  dtype?: "auto" | "float32" | "bfloat16" | "float16";
  low_memory?: LowMemory;
  /**
   * Steps of a picture; unset = the pipeline's own number.
   */
  steps?: number | null;
  /**
   * How closely a picture follows its prompt; unset = the pipeline's own.
   */
  guidance?: number | null;
  /**
   * Most steps that a request may ask for.
   */
  max_steps?: number;
  /**
   * Pixels of the largest picture that is made; the memory that is foretold is for it.
   */
  max_pixels?: number;
  /**
   * Pixels of the longest side of a picture that is made.
   */
  max_side?: number;
  /**
   * Pictures of one request.
   */
  max_images?: number;
  /**
   * Pixels of the largest picture that is taken to be edited; its header is asked before it is decoded.
   */
  max_upload_pixels?: number;
  /**
   * Pictures that may wait for the model; more are refused with 429.
   */
  max_queue?: number;
  /**
   * LoRA weights that requests may name: safetensors files, folders or Hugging Face ids. A file or folder goes by its name without the ending.
   */
  loras?: string[];
}
/**
 * The model that ranks documents by a question.
 */
export interface RerankConfig {
  /**
   * Hugging Face id or folder of a cross-encoder, or of a language model that answers yes or no; unset = none.
   */
  model?: string | null;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  method?: RerankMethod;
  /**
   * `auto`, or a torch device.
   */
  device?: string;
  /**
   * Pairs of question and passage scored together.
   */
  batch_size?: number;
  /**
   * Tokens of question and passage read at once; a longer document is read in passages, and the best counts.
   */
  max_tokens?: number;
}
/**
 * The model that writes down what is said.
 */
export interface TranscriptionConfig {
  /**
   * Hugging Face id or folder of a Whisper; unset = this lab transcribes nothing, unless such a model is added.
   */
  model?: string | null;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * `auto`, or a torch device such as `cpu` or `cuda:0`.
   */
  device?: string;
  /**
   * Seconds of the longest recording; its header is asked before it is decoded.
   */
  max_seconds?: number;
  /**
   * Recordings that may wait for the model; more are refused with 429.
   */
  max_queue?: number;
}
/**
 * The model that speaks.
 */
export interface SpeechConfig {
  /**
   * Hugging Face id or folder of a VITS or MMS model; unset = this lab does not speak, unless such a model is added.
   */
  model?: string | null;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * `auto`, or a torch device such as `cpu` or `cuda:0`.
   */
  device?: string;
  /**
   * Characters of the longest text that is spoken at a request.
   */
  max_characters?: number;
  /**
   * Texts that may wait for the model; more are refused with 429.
   */
  max_queue?: number;
}
/**
 * How models share the memory of their devices.
 */
export interface ResidencyConfig {
  /**
   * Most memory of each device that models may take, in GB; unset = what is free.
   */
  memory_gb?: number | null;
  /**
   * Seconds that a request waits for models in use to leave, before it is refused.
   */
  wait_s?: number;
  /**
   * Part of a device's memory that programs may hold together for their own use (`lab.lease`); 0 = none.
   */
  lease_share?: number;
  /**
   * Models that are never evicted, besides the embedding model.
   */
  pinned?: string[];
}
/**
 * Chat models that other servers run.
 */
export interface RemotesConfig {
  /**
   * The servers: tables in a file, a JSON list in the environment (docs/models.md).
   */
  endpoints?: RemoteEndpoint[];
}
/**
 * A server of chat models that speaks OpenAI's protocol.
 */
export interface RemoteEndpoint {
  /**
   * What its models are called by here: NAME/MODEL.
   */
  name: string;
  /**
   * Its address up to `/v1`, without a key.
   */
  url: string;
  kind?: RemoteKind;
  /**
   * Key that it asks for.
   */
  key?: string | null;
  /**
   * File that holds the key; read for every request.
   */
  key_file?: string | null;
  /**
   * Models of its that requests may name; none = those that it lists.
   */
  models?: string[];
  /**
   * Tokens of its window; null for what it says.
   */
  context_length?: number | null;
  /**
   * tokenizer.json, a folder with one, or a Hugging Face id, by which tokens are counted; null estimates them.
   */
  tokenizer?: string | null;
  /**
   * Seconds to wait for a connection.
   */
  connect_timeout_s?: number;
  /**
   * Seconds to wait for the first or the next piece of an answer.
   */
  timeout_s?: number;
  /**
   * Times that a request is sent again before anything of its answer came.
   */
  retries?: number;
}
/**
 * Chat models that vLLM runs for the lab.
 */
export interface VllmConfig {
  /**
   * How vLLM's server is started; the model and its arguments follow.
   *
   * @minItems 1
   */
  command?: [string, ...string[]];
  /**
   * The models: tables in a file, a JSON list in the environment (docs/models.md).
   */
  models?: VllmModel[];
  /**
   * Seconds in which it has to answer, download of the weights included.
   */
  start_timeout_s?: number;
  /**
   * Seconds in which it has to end before it is killed.
   */
  stop_timeout_s?: number;
  /**
   * Seconds without a piece of an answer, its turn in the queue included, after which that is given up.
   */
  timeout_s?: number;
}
/**
 * A chat model that vLLM runs in a process of its own.
 */
export interface VllmModel {
  /**
   * Hugging Face id or folder.
   */
  model: string;
  /**
   * What requests call it; null for `vllm/` and the last part of `model`.
   */
  name?: string | null;
  /**
   * Pinned revision of a Hugging Face model.
   */
  revision?: string | null;
  /**
   * Its first device, as torch names it; further parts take the devices after it.
   */
  device?: string;
  /**
   * Memory of each device that it is given, in GB: weights, keys and values, and all else.
   */
  memory_gb: number;
  /**
   * Devices that share each layer.
   */
  tensor_parallel?: number;
  /**
   * Groups of devices that have the layers one after the other.
   */
  pipeline_parallel?: number;
  /**
   * Tokens of its window; null for the model's own.
   */
  max_length?: number | null;
  /**
   * Form of the weights, in vLLM's words, such as `fp8` or `bitsandbytes`; null as it is published.
   */
  quantization?: string | null;
  /**
   * Number format, in vLLM's words.
   */
  dtype?: string;
  /**
   * A small model with the same vocabulary whose tokens it checks several at once, in place of making each (speculative decoding): Hugging Face id or folder; null for none.
   */
  draft_model?: string | null;
  /**
   * Tokens that the draft model proposes at a time.
   */
  draft_tokens?: number;
  /**
   * More arguments of `vllm serve`, such as --tool-call-parser.
   */
  arguments?: string[];
}
/**
 * Chat models in GGUF that llama.cpp runs for the lab.
 */
export interface LlamaCppConfig {
  /**
   * How llama.cpp's server is started; its arguments follow.
   *
   * @minItems 1
   */
  command?: [string, ...string[]];
  /**
   * The models: tables in a file, a JSON list in the environment (docs/models.md).
   */
  models?: LlamaCppModel[];
  /**
   * Seconds in which it has to answer.
   */
  start_timeout_s?: number;
  /**
   * Seconds in which it has to end before it is killed.
   */
  stop_timeout_s?: number;
  /**
   * Seconds without a piece of an answer, its turn in the queue included, after which that is given up.
   */
  timeout_s?: number;
}
/**
 * A chat model in GGUF that llama.cpp runs in a process of its own.
 */
export interface LlamaCppModel {
  /**
   * File in GGUF; of a model that was split, its first.
   */
  model: string;
  /**
   * What requests call it; null for `llama.cpp/` and the name of the file.
   */
  name?: string | null;
  /**
   * Where it runs, as torch names it.
   */
  device?: string;
  /**
   * Tokens of its window, of which it has no more than it was trained for.
   */
  max_length?: number;
  /**
   * Answers at a time; each has the whole window, and its memory.
   */
  streams?: number;
  /**
   * Hugging Face id or folder of its tokenizer, by which tokens are counted; null to estimate them.
   */
  tokenizer?: string | null;
  /**
   * More arguments of `llama-server`, such as --threads or --mmproj.
   */
  arguments?: string[];
}
/**
 * Servers of tools that speak MCP.
 */
export interface McpConfig {
  /**
   * The servers: tables in a file, a JSON list in the environment (docs/tools.md).
   */
  servers?: McpServer[];
}
/**
 * A server of tools that speaks MCP over streamable HTTP; everybody in the lab may use it.
 */
export interface McpServer {
  /**
   * What its tools are called by here: NAME_TOOL.
   */
  name: string;
  /**
   * Its address, without a key.
   */
  url: string;
  /**
   * Key that it asks for, as a bearer token.
   */
  key?: string | null;
  /**
   * Seconds to wait for a connection and for the list of its tools.
   */
  timeout_s?: number;
}
/**
 * JupyterHub.
 */
export interface HubConfig {
  /**
   * Login name of the administrator that the first start creates.
   */
  admin?: string;
  /**
   * OS account that runs notebooks when the lab is started by root.
   */
  notebook_user?: string;
  /**
   * Seconds a notebook server may take to start.
   */
  spawn_timeout_s?: number;
  /**
   * Seconds after which an idle dashboard kernel ends; 0 = never.
   */
  cull_idle_s?: number;
}
/**
 * Evaluations.
 */
export interface EvaluationConfig {
  /**
   * Seconds one cell of an evaluation may take.
   */
  cell_timeout_s?: number;
  /**
   * Seconds after its time that a missed schedule still runs.
   */
  misfire_grace_s?: number;
  /**
   * Evaluations that run at the same time; others wait.
   */
  concurrent_runs?: number;
}
/**
 * How pages of the web are read, with their links; the limits of one page are those of `web`.
 */
export interface PagesConfig {
  /**
   * What the lab calls itself; the first word is its name in robots.txt.
   */
  user_agent?: string;
  /**
   * Read nothing that a site's robots.txt closes to the lab.
   */
  obey_robots?: boolean;
  /**
   * Kinds of pages that are read; nothing of another one is taken in.
   */
  media_types?: string[];
  /**
   * Most pages that one request may read.
   */
  max_pages?: number;
  /**
   * Most links that one request may go away from where it begins.
   */
  max_depth?: number;
  /**
   * Seconds that one request may read.
   */
  timeout_s?: number;
  /**
   * Pages that are asked for at once.
   */
  concurrency?: number;
  /**
   * Pages that one host is asked for at once.
   */
  host_concurrency?: number;
  /**
   * Seconds between two requests to one host.
   */
  host_delay_s?: number;
  /**
   * Requests that read at once; each is a process.
   */
  readers?: number;
}
/**
 * Who searches the web, and where.
 */
export interface SearchConfig {
  /**
   * Whom to ask, the first choice first; `local` needs no network.
   */
  providers?: SearchProviderKind[];
  /**
   * How many are asked together; each that fails or finds nothing is replaced by the next.
   */
  at_once?: number;
  /**
   * Seconds that each may take.
   */
  timeout_s?: number;
  /**
   * Address of a SearXNG whose settings allow the format `json`.
   */
  searxng_url?: string | null;
  /**
   * Where Brave's API is.
   */
  brave_url?: string;
  /**
   * Key of Brave's Search API.
   */
  brave_key?: string | null;
  /**
   * Where Serper's API is.
   */
  serper_url?: string;
  /**
   * Key of Serper's API.
   */
  serper_key?: string | null;
  /**
   * Where Google's Custom Search API is.
   */
  google_url?: string;
  /**
   * Key of Google's Custom Search API.
   */
  google_key?: string | null;
  /**
   * Id of the search engine at Google (`cx`).
   */
  google_engine?: string | null;
  /**
   * Where DuckDuckGo's page of results is.
   */
  duckduckgo_url?: string;
}
/**
 * What Python code that nobody trusts may take; the code of tools runs so.
 */
export interface SandboxConfig {
  /**
   * Seconds that it may run.
   */
  seconds?: number;
  /**
   * MiB of memory that it may take, the interpreter included.
   */
  memory_mib?: number;
  /**
   * MiB of files that it may write; they are gone when it ends.
   */
  scratch_mib?: number;
  /**
   * KiB that are kept of each of its outputs, and that its result may take.
   */
  output_kib?: number;
  /**
   * Pieces of code that run at once; others wait.
   */
  at_once?: number;
  /**
   * Number of the account that it runs as where the lab is root; it needs no name, and nothing may be its.
   */
  uid?: number;
}
/**
 * Limits that protect the lab.
 */
export interface LimitsConfig {
  /**
   * Largest request body.
   */
  max_body_bytes?: number;
  /**
   * Largest document.
   */
  max_document_bytes?: number;
  /**
   * Largest file of sound.
   */
  max_audio_bytes?: number;
  /**
   * Most pages of a document.
   */
  max_document_pages?: number;
  /**
   * Longest text of a document; about 250 passages are embedded for 100,000.
   */
  max_document_characters?: number;
  /**
   * Seconds that reading a document may take, before its passages are embedded.
   */
  document_timeout_s?: number;
  /**
   * Most rows one list request returns.
   */
  max_conversation_page?: number;
  /**
   * Research tasks that one process works on at once; further ones wait for their turn.
   */
  max_research_at_once?: number;
  /**
   * Of those, tasks of one person.
   */
  max_research_of_one?: number;
  /**
   * Research tasks of one person that are not done; further ones are refused.
   */
  max_open_research?: number;
  /**
   * Let people share conversations with everybody in the lab.
   */
  sharing?: boolean;
  /**
   * Keys that users may not override, e.g. `memory.enabled`.
   */
  locked?: string[];
}
/**
 * Logs.
 */
export interface LoggingConfig {
  /**
   * Least level that is written.
   */
  level?: "debug" | "info" | "warning" | "error";
  /**
   * `console` for people, `json` for machines.
   */
  format?: "console" | "json";
}
/**
 * Long memory of a user's chats.
 */
export interface MemoryConfig {
  /**
   * Put what was said earlier before the model.
   */
  enabled?: boolean;
  /**
   * Most memories put into one window.
   */
  top_k?: number;
  /**
   * Least similarity of a memory that shares no word with the question, alone or after what was said before it.
   */
  min_score?: number;
  /**
   * Search `all` conversations of the user, this `conversation` only, or, besides all, those that others have `shared`, while the operator lets them (`limits.sharing`).
   */
  scope?: "all" | "conversation" | "shared";
  /**
   * Let what was said around a turn speak for it.
   */
  neighbours?: boolean;
}
/**
 * What is found in a user's documents.
 */
export interface DocumentsConfig {
  /**
   * Most passages of documents put into one window; 0 = none.
   */
  top_k?: number;
  /**
   * Least similarity of a passage in a window that shares no word with the question.
   */
  min_score?: number;
  /**
   * Most tokens of a passage, as the embedding model counts; for what is added next.
   */
  chunk_tokens?: number;
}
/**
 * What the lab fetches from the web, for those who give it an address.
 */
export interface WebConfig {
  /**
   * What is fetched from although it is not public: hosts, each with or without `:port`, and networks (`10.1.0.0/16`). Everybody who may ask a model can then reach it.
   */
  allowed?: string[];
  /**
   * Seconds that fetching may take, with all redirects.
   */
  timeout_s?: number;
  /**
   * Bytes of the largest file that is fetched, unpacked.
   */
  max_bytes?: number;
  /**
   * Redirects that are followed.
   */
  max_redirects?: number;
}
/**
 * How the window is shared.
 */
export interface ContextConfig {
  /**
   * System prompt of every chat; unset = the profile's.
   */
  system_prompt?: string | null;
  /**
   * Tokens kept free for the answer.
   */
  answer_tokens?: number;
  /**
   * Most of the prompt budget that memories may take.
   */
  memory_share?: number;
  /**
   * Most of the prompt budget that passages of documents may take.
   */
  document_share?: number;
}
/**
 * Summaries of long conversations.
 */
export interface SummariesConfig {
  /**
   * Summarise long conversations, and put the summaries before the model.
   */
  enabled?: boolean;
  /**
   * Messages that one summary of the first level covers; it is written as soon as so many have none.
   */
  messages?: number;
  /**
   * Summaries of one level that are joined into one of the next.
   */
  fan_in?: number;
  /**
   * Most of the prompt budget that summaries may take.
   */
  share?: number;
  /**
   * Part of that share for summaries of messages; what one level leaves goes to the others.
   */
  level_1_weight?: number;
  /**
   * Part for summaries of level 2.
   */
  level_2_weight?: number;
  /**
   * Part for summaries of level 3.
   */
  level_3_weight?: number;
  /**
   * Part for the master summary of all; no summary is longer than the largest of these parts.
   */
  master_weight?: number;
  style?: SummaryStyle;
  /**
   * Newest messages that stay in the window word for word though a summary covers them.
   */
  keep_messages?: number;
}
/**
 * What conversations told, fact by fact.
 */
export interface FactsConfig {
  /**
   * Write down the facts of long conversations, with their summaries, and put those that hold before the model.
   */
  enabled?: boolean;
  /**
   * Most facts put into one window.
   */
  top_k?: number;
  /**
   * Most of the prompt budget that facts may take.
   */
  share?: number;
  /**
   * Least similarity of a fact in a window that shares no word with the question.
   */
  min_score?: number;
}
/**
 * Tools that are written for a user.
 */
export interface DynamicToolsConfig {
  /**
   * A tool whose description is at least so similar to a wish is used for it.
   */
  reuse_similarity?: number;
  /**
   * A tool whose description is at least so similar to a wish is what the model starts from.
   */
  modify_similarity?: number;
}
/**
 * Sampling defaults of a user.
 */
export interface GenerationConfig {
  /**
   * 0 is greedy; unset = the profile's.
   */
  temperature?: number | null;
  /**
   * Nucleus sampling; unset = the profile's.
   */
  top_p?: number | null;
  /**
   * Seed of every answer; unset draws one each time.
   */
  seed?: number | null;
}
/**
 * The lab's own tools.
 */
export interface ToolsConfig {
  /**
   * Tools of the lab that the model may call in stored conversations, by name (`lab tools`); a profile or a request may name others.
   */
  enabled?: string[];
  /**
   * Tools of the lab, by name, whose calls wait until you allow them; they are not offered where nothing is stored, since nobody could be asked there.
   */
  ask?: string[];
  /**
   * Most times in one turn that the model calls tools and sees their results; then it must answer.
   */
  max_rounds?: number;
  /**
   * Most calls of the lab's tools in one turn; then the model must answer.
   */
  max_calls?: number;
  /**
   * Most times that the same call, with the same arguments, is made in one turn; then the model must answer.
   */
  max_repeats?: number;
  /**
   * Seconds that one call of a tool may take.
   */
  timeout_s?: number;
  /**
   * Seconds that a result is used again for the same call of the same user, where the tool allows it and at most `cache.ttl_s`; 0 = never.
   */
  cache_s?: number;
  /**
   * Most tokens of one result; what is longer is cut, and in a small window sooner.
   */
  result_tokens?: number;
  /**
   * Time zone of the clock that the model looks at, such as `Europe/Berlin`.
   */
  time_zone?: string;
}
/**
 * What happens around a turn.
 */
export interface WorkflowConfig {
  /**
   * Find out what each message of a stored conversation wants, and answer by the workflow that fits; the `workflow` of a request or profile goes before it.
   */
  route?: boolean;
  /**
   * How likely `lab-tiny` must hold the intent that it names for it to be followed; what it is less sure of is chat. Other models are not asked how sure they are.
   */
  min_confidence?: number;
  /**
   * Rounds in which an answer is criticised and written again before it is given; the draft is told as thinking.
   */
  refine?: number;
  /**
   * Steps of a plan, each a todo.
   */
  max_steps?: number;
  /**
   * Open todos of a conversation that plans are made with; one with more is not planned until some are done or dropped.
   */
  max_todos?: number;
  /**
   * Aspects of a question that an analysis looks at, all at once.
   */
  max_aspects?: number;
  /**
   * Members of a team, each of which answers every message.
   */
  max_members?: number;
  /**
   * Name a new conversation by its first exchange.
   */
  auto_title?: boolean;
  /**
   * Turns of a conversation whose steps are kept, to go on with or to return to.
   */
  keep_turns?: number;
}
/**
 * How far research goes, and what it takes for proof.
 */
export interface ResearchConfig {
  /**
   * Most questions of a plan, the one that was asked among them.
   */
  max_questions?: number;
  /**
   * Most results that a search for one question gives.
   */
  results_per_question?: number;
  /**
   * Most pages that are read for one question.
   */
  pages_per_question?: number;
  /**
   * Most pages that are read for all questions together.
   */
  max_pages?: number;
  /**
   * Most characters of pages that are looked through for one question; the nearest pages come first.
   */
  max_characters?: number;
  /**
   * Most claims that a report holds on one question.
   */
  claims_per_question?: number;
  /**
   * Questions that are worked on at once.
   */
  at_once?: number;
  /**
   * Seconds that one search, or reading for one question, may take.
   */
  question_timeout_s?: number;
  /**
   * Seconds after which nothing more is searched, read or asked of a model: the report is written of what there is. Research that is resumed has them anew.
   */
  timeout_s?: number;
  /**
   * Least cosine of a sentence to the question that it shall answer.
   */
  min_similarity?: number;
  /**
   * Least cosine of a claim to the quote that shall prove it; the same words have 1.
   */
  min_entailment?: number;
  /**
   * Least cosine of two sentences that may contradict each other.
   */
  contradiction_similarity?: number;
}
/**
 * Which profile does what.
 */
export interface RolesConfig {
  /**
   * Profile that answers when a request names none; unset = the lab's default.
   */
  primary?: string | null;
  /**
   * Profile that writes summaries; unset = that of the chat.
   */
  summary?: string | null;
  /**
   * Profile that titles conversations, writes down their facts and tells what messages want; unset = that of the chat.
   */
  analysis?: string | null;
  /**
   * Profile that plans research and sums up what it found; unset = `roles.primary`.
   */
  research?: string | null;
  /**
   * Profile that answers while the model of the one asked for keeps failing (`breaker.failures`); unset = the request is refused.
   */
  fallback?: string | null;
}
/**
 * A chat with its messages.
 */
export interface Conversation {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Name in lists.
   */
  title: string;
  /**
   * When it was opened.
   */
  created_at: string;
  /**
   * When its last message was stored.
   */
  updated_at: string;
  /**
   * Messages stored.
   */
  n_messages?: number;
  /**
   * True where its owner shares it: others' questions may find what was said in it, while the operator lets people share.
   */
  shared?: boolean;
  /**
   * The conversation that it was forked from, which may be gone; null for one that began empty.
   */
  forked_from?: string | null;
  /**
   * The last message of that conversation that it took along; null where it took none.
   */
  forked_at?: string | null;
  /**
   * What programs keep with it, as `metadata` of a thread of the Agent Protocol.
   */
  details?: {
    [k: string]: unknown;
  };
}
/**
 * A new conversation.
 */
export interface ConversationRequest {
  /**
   * Name in lists.
   */
  title?: string;
}
/**
 * A conversation as it was after a step of a turn; it can be forked there.
 */
export interface ConversationState {
  /**
   * Identifier.
   */
  checkpoint_id: string;
  /**
   * The state before; null for the first that is kept.
   */
  parent_id?: string | null;
  /**
   * The run that began the turn.
   */
  run_id: string;
  /**
   * When it was so.
   */
  created_at: string;
  /**
   * The step that came next; empty at the end of a turn.
   */
  next: string[];
  /**
   * Messages of the conversation that were stored then, and are still there.
   */
  n_messages: number;
  /**
   * The last of them; null where there was none.
   */
  message_id?: string | null;
  /**
   * What stood before the model in that turn; empty where that was not chosen yet.
   */
  window: ChatMessage[];
  /**
   * What the turn asked somebody, to go on.
   */
  asks?: unknown[];
}
/**
 * Changes a conversation; what is unset stays as it is.
 */
export interface ConversationUpdate {
  /**
   * Name in lists.
   */
  title?: string | null;
  /**
   * True to let others' questions find what was said in it, false to end that.
   */
  shared?: boolean | null;
}
/**
 * What was decided about a model's memory, and why.
 */
export interface Decision {
  /**
   * When.
   */
  at: string;
  kind: DecisionKind;
  /**
   * About which model.
   */
  model: string;
  /**
   * Whose memory.
   */
  device: string;
  /**
   * Why, in words and numbers.
   */
  reason: string;
}
/**
 * The memory of a device, as the lab shares it out.
 */
export interface DeviceAccount {
  /**
   * The device, as torch names it.
   */
  device: string;
  /**
   * Most that models may take; null = what is free.
   */
  budget_bytes: number | null;
  /**
   * What no process uses there.
   */
  free_bytes: number;
  /**
   * What models take or were promised.
   */
  taken_bytes: number;
  /**
   * What another model may take without one leaving.
   */
  room_bytes: number;
}
/**
 * A file whose text can be searched and cited.
 */
export interface Document {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Name of the file.
   */
  name: string;
  /**
   * What it was read as, e.g. `application/pdf`.
   */
  media_type: string;
  /**
   * Of the bytes, in hex: the same bytes are the same document.
   */
  sha256: string;
  /**
   * Size of the file.
   */
  n_bytes: number;
  /**
   * Length of its text, in Unicode characters.
   */
  n_characters: number;
  /**
   * Passages that it is searched by.
   */
  n_chunks: number;
  /**
   * The model that embedded its passages.
   */
  embedding_model: string;
  /**
   * When it was added.
   */
  created_at: string;
}
/**
 * Answers an upload.
 */
export interface DocumentAdded {
  document: Document;
  /**
   * False where the same bytes were there already: that document stays as it is.
   */
  is_new: boolean;
}
/**
 * A passage of a document.
 */
export interface DocumentChunk {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Where it stands.
   */
  document_id: string;
  /**
   * Index in its document, from 0.
   */
  position: number;
  /**
   * Where it begins in the document's text, in Unicode characters from 0.
   */
  start: number;
  /**
   * Where it ends; the character there is the first that is not of it.
   */
  end: number;
  /**
   * The page on which it stands, from 1; null where the file has none.
   */
  page?: number | null;
  /**
   * What it says.
   */
  text: string;
  /**
   * When it was stored.
   */
  created_at: string;
}
/**
 * A passage found by a search.
 */
export interface DocumentHit {
  document: Document;
  chunk: DocumentChunk;
  /**
   * Relevance in [0, 1]: words, meaning and neighbours taken together.
   */
  score: number;
  /**
   * Cosine similarity in [-1, 1]; higher is closer, 0 where another model embedded it.
   */
  similarity: number;
}
/**
 * Asks for passages that bear on a question.
 */
export interface DocumentSearch {
  /**
   * What to look for.
   */
  query: string;
  /**
   * Most passages to return.
   */
  limit?: number;
}
/**
 * The text of a document, or a part of it.
 */
export interface DocumentText {
  /**
   * The document.
   */
  document_id: string;
  /**
   * Where the part begins, in Unicode characters from 0.
   */
  start: number;
  /**
   * Where it ends.
   */
  end: number;
  /**
   * What stands there.
   */
  text: string;
}
/**
 * A tool that was written for one user; it runs only after approval.
 */
export interface DynamicTool {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Counts the changes, from 1; a change names the version that it was made to.
   */
  version: number;
  /**
   * Unique name, as models call it.
   */
  name: string;
  /**
   * What the tool does, for the model.
   */
  description: string;
  /**
   * JSON Schema of the arguments.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * Python source.
   */
  code: string;
  /**
   * The model that embedded the description.
   */
  embedding_model: string;
  /**
   * When the user approved this version; null until then.
   */
  approved_at?: string | null;
  /**
   * When it was first written.
   */
  created_at: string;
}
/**
 * Lets one version of a tool run.
 */
export interface DynamicToolApproval {
  /**
   * The version that was read.
   */
  version: number;
}
/**
 * A tool for a wish.
 */
export interface DynamicToolProposal {
  tool: DynamicTool;
  origin: DynamicToolOrigin;
  /**
   * Name of the tool that was there whose description is nearest to the wish.
   */
  nearest?: string | null;
  /**
   * Cosine similarity of that description to the wish.
   */
  similarity?: number | null;
}
/**
 * A tool whose code somebody wrote by hand.
 */
export interface DynamicToolRequest {
  /**
   * What models call it; the function of that name is the tool.
   */
  name: string;
  /**
   * What it does, for the model; by default the function's docstring.
   */
  description?: string | null;
  /**
   * JSON Schema of its arguments; by default what the function's annotations say.
   */
  parameters?: {
    [k: string]: unknown;
  } | null;
  /**
   * Python source.
   */
  code: string;
}
/**
 * Calls a tool.
 */
export interface DynamicToolRun {
  /**
   * Arguments by name.
   */
  arguments?: {
    [k: string]: unknown;
  };
}
/**
 * Writes a tool anew; it waits for approval again.
 */
export interface DynamicToolUpdate {
  /**
   * The version that was read and is changed.
   */
  version: number;
  tool: DynamicToolRequest;
}
/**
 * What a tool shall do, in words.
 */
export interface DynamicToolWish {
  /**
   * What it shall do, and with which arguments.
   */
  description: string;
  /**
   * Profile that writes it; by default the one with the role `analysis`, else the user's.
   */
  model?: string | null;
}
/**
 * One embedding, as OpenAI writes it.
 */
export interface Embedding {
  /**
   * Kind of object.
   */
  object?: "embedding";
  /**
   * Place of its text in the input.
   */
  index: number;
  /**
   * A vector of length 1, as numbers or as base64.
   */
  embedding: number[] | string;
}
/**
 * Embeddings in the order of the input, as OpenAI writes them.
 */
export interface EmbeddingList {
  /**
   * Kind of object.
   */
  object?: "list";
  /**
   * The embeddings.
   */
  data: Embedding[];
  /**
   * Id of the model.
   */
  model: string;
  usage: EmbeddingUsage;
}
/**
 * What embeddings cost.
 */
export interface EmbeddingUsage {
  /**
   * Tokens of the input, markers included.
   */
  prompt_tokens: number;
  /**
   * The same.
   */
  total_tokens: number;
}
/**
 * What OpenAI's clients send to /v1/embeddings.
 */
export interface EmbeddingsRequest {
  /**
   * The embedding model; null for the lab's.
   */
  model?: string | null;
  /**
   * Text or texts.
   */
  input: string | string[];
  /**
   * Numbers, or base64 of little-endian float32.
   */
  encoding_format?: EncodingFormat | null;
  /**
   * Length of the vectors; other than the model's own where it was trained for that.
   */
  dimensions?: number | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  user?: string | null;
  input_type?: InputType;
}
/**
 * What went wrong, in OpenAI's shape.
 */
export interface ErrorDetail {
  /**
   * What came, what was expected and what to do.
   */
  message: string;
  /**
   * Kind of error, e.g. invalid_request_error.
   */
  type: string;
  /**
   * The parameter that is wrong.
   */
  param?: string | null;
  /**
   * Name of the error, for programs.
   */
  code?: string | null;
}
/**
 * Body of every answer that reports an error.
 */
export interface ErrorResponse {
  error: ErrorDetail;
}
/**
 * Asks for one run of an evaluation.
 */
export interface EvalRequest {
  /**
   * Name of the evaluation, e.g. long_memory.
   */
  evaluation: string;
  /**
   * Values other than the notebook's own.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * The schedule that asks; null for a person.
   */
  schedule_id?: string | null;
}
/**
 * One execution of an evaluation notebook.
 */
export interface EvalRun {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Name of the evaluation, e.g. long_memory.
   */
  name: string;
  /**
   * Path of the source notebook, relative to the notebooks folder.
   */
  notebook: string;
  /**
   * Papermill parameters.
   */
  parameters?: {
    [k: string]: unknown;
  };
  status: RunStatus;
  /**
   * Measured values by name, from the notebook.
   */
  metrics?: {
    [k: string]: unknown;
  };
  /**
   * Path of the executed notebook, relative to the data folder.
   */
  executed_notebook?: string | null;
  /**
   * The schedule that started it.
   */
  schedule_id?: string | null;
  /**
   * Cells executed.
   */
  cells_done?: number;
  /**
   * Cells of the notebook.
   */
  cells_total?: number;
  /**
   * What went wrong, for people.
   */
  error?: string | null;
  /**
   * When it was asked for.
   */
  created_at: string;
  /**
   * When it started.
   */
  started_at?: string | null;
  /**
   * When it ended.
   */
  finished_at?: string | null;
}
/**
 * An evaluation notebook that this lab can run.
 */
export interface Evaluation {
  /**
   * Name of the file without its ending, e.g. long_memory.
   */
  name: string;
  /**
   * Its heading.
   */
  title: string;
  /**
   * What it answers.
   */
  question?: string;
  /**
   * Path relative to the notebooks folder.
   */
  notebook: string;
  /**
   * What one can set.
   */
  parameters: EvaluationParameter[];
}
/**
 * What one can set in an evaluation notebook.
 */
export interface EvaluationParameter {
  /**
   * Name in the parameters cell.
   */
  name: string;
  /**
   * Its annotation, e.g. int.
   */
  type: string;
  /**
   * Value when none is given.
   */
  default: {
    [k: string]: unknown;
  };
  /**
   * The comment beside it.
   */
  description?: string;
}
/**
 * Something that happened in a run, in order.
 */
export interface Event {
  /**
   * The run.
   */
  run_id: string;
  /**
   * Index in the run, from 0.
   */
  position: number;
  type: EventType;
  /**
   * Details; the keys depend on the type.
   */
  data: {
    [k: string]: unknown;
  };
  /**
   * When it happened.
   */
  created_at: string;
}
/**
 * One setting and the layer that set it.
 */
export interface ExplainedSetting {
  /**
   * Its name, `section.key`.
   */
  key: string;
  /**
   * Its value; secrets are masked.
   */
  value: {
    [k: string]: unknown;
  };
  /**
   * The layer that set it.
   */
  layer: string;
  /**
   * Its environment variable.
   */
  env: string;
  /**
   * What it does.
   */
  description: string;
  /**
   * True when users may not override it.
   */
  locked: boolean;
  /**
   * True when users may set it for themselves.
   */
  user: boolean;
}
/**
 * What a conversation told that is worth knowing later, and how long it held.
 */
export interface Fact {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The conversation that told it.
   */
  conversation_id: string;
  /**
   * The summary of level 1 that it was written with, and goes with.
   */
  summary_id: string;
  /**
   * The memories that the summary was made from, the earliest first: correct or forget these, and the fact follows.
   */
  memory_ids: string[];
  /**
   * Index among the facts of that summary.
   */
  position: number;
  /**
   * Index of the first message that may have told it.
   */
  first_position: number;
  /**
   * Index of the last message that may have told it.
   */
  last_position: number;
  /**
   * What it is about; of two facts about the same, whatever the case, the later one holds.
   */
  about: string;
  /**
   * The whole statement.
   */
  text: string;
  /**
   * When the last message of its summary was said.
   */
  valid_from: string;
  /**
   * When something else was told about the same; null while it holds.
   */
  valid_until?: string | null;
  /**
   * When it was stored.
   */
  created_at: string;
}
/**
 * A fact found by a search.
 */
export interface FactHit {
  fact: Fact;
  /**
   * Relevance in [0, 1]: words and meaning taken together.
   */
  score: number;
  /**
   * Cosine similarity in [-1, 1], higher is closer; null for a fact of another embedding model, which waits for `lab db reembed`.
   */
  similarity: number | null;
}
/**
 * Bytes that messages and images refer to.
 */
export interface File {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Name of the file; null where it has none.
   */
  name?: string | null;
  /**
   * What the bytes are, e.g. `image/png`.
   */
  media_type: string;
  /**
   * Of the bytes, in hex.
   */
  sha256: string;
  /**
   * Size.
   */
  n_bytes: number;
  /**
   * When it was stored.
   */
  created_at: string;
}
/**
 * A file in a message.
 */
export interface FilePart {
  /**
   * Discriminator.
   */
  type?: "file";
  /**
   * The file.
   */
  file_id: string;
}
/**
 * Where to fork a conversation: after a message, or at a state of its history; after its last message where neither is given.
 */
export interface ForkRequest {
  /**
   * The last message to take along; one that calls tools brings their results.
   */
  message_id?: string | null;
  /**
   * A state of the conversation's history, instead.
   */
  checkpoint_id?: string | null;
  /**
   * Name in lists; that of the source with `(fork)` where it is not given.
   */
  title?: string | null;
}
/**
 * A picture that a model made.
 */
export interface Image {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Its bytes.
   */
  file_id: string;
  /**
   * The picture that it was edited from; null for one made from text alone.
   */
  source_id?: string | null;
  /**
   * What was asked for.
   */
  prompt: string;
  /**
   * Id of the model that made it.
   */
  model: string;
  /**
   * Parameters as used, seed included.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * When it was made.
   */
  created_at: string;
}
/**
 * Something that happened while pictures are made: a step, or a picture that is there.
 */
export interface ImageEvent {
  type: ImageEventType;
  /**
   * Which picture of the request, from 0.
   */
  index: number;
  /**
   * Steps that are done.
   */
  step: number;
  /**
   * Steps of the picture.
   */
  n_steps: number;
  /**
   * The bytes of a PNG, in base64; null until it is there.
   */
  b64_json?: string | null;
  /**
   * What is stored; null until it is there.
   */
  image?: Image | null;
  /**
   * When it was made, in seconds since 1970.
   */
  created_at?: number | null;
  /**
   * Width and height.
   */
  size?: string | null;
  /**
   * Format of the bytes.
   */
  output_format?: "png";
}
/**
 * A picture in a message.
 */
export interface ImagePart {
  /**
   * Discriminator.
   */
  type?: "image";
  /**
   * The picture.
   */
  file_id: string;
}
/**
 * What OpenAI's clients send to /v1/images; a form with pictures has the same fields.
 */
export interface ImageRequest {
  /**
   * What is to be seen.
   */
  prompt: string;
  /**
   * The image model; null for the lab's.
   */
  model?: string | null;
  /**
   * How many pictures; each has a seed of its own, from `seed` upwards.
   */
  n?: number | null;
  /**
   * Width and height, e.g. `512x512`; `auto` = the model's own size, of an edit that of the picture.
   */
  size?: string | null;
  /**
   * Only `b64_json`: the answer holds the bytes.
   */
  response_format?: string | null;
  /**
   * Only `png`.
   */
  output_format?: string | null;
  /**
   * The same seed gives the same picture again; null draws one.
   */
  seed?: number | null;
  /**
   * Steps of a picture; null for the lab's number.
   */
  steps?: number | null;
  /**
   * How closely the picture follows the prompt; null for the lab's.
   */
  guidance?: number | null;
  /**
   * What is not to be seen.
   */
  negative_prompt?: string | null;
  /**
   * Of an edit: how much is made anew, 1 = all; null for the pipeline's own.
   */
  strength?: number | null;
  /**
   * LoRA weights to put on the model, by the name that the lab knows them by.
   */
  lora?: string | null;
  /**
   * How much the LoRA weights count.
   */
  lora_scale?: number | null;
  /**
   * Send progress, then each picture, as Server-Sent Events.
   */
  stream?: boolean | null;
  /**
   * Accepted for OpenAI's clients; has no effect here.
   */
  user?: string | null;
}
/**
 * One use of a model, which keeps it in memory.
 */
export interface Lease {
  /**
   * What it is used for.
   */
  purpose: string;
  /**
   * Whose use it is; null for the lab's own, and for other people's unless an administrator asks.
   */
  owner_id: string | null;
  /**
   * When it began.
   */
  since: string;
}
/**
 * Memory of a device that a program wants for its own use.
 */
export interface LeaseRequest {
  /**
   * How much, in GB (powers of ten).
   */
  gb: number;
  /**
   * Of which device, as torch names it; null = where chat models run.
   */
  device?: string | null;
  /**
   * What it is for, for those who wonder where the memory went.
   */
  purpose?: string;
  /**
   * Number of the program's process; what it takes of the lease already is then known. Null where it runs on another machine.
   */
  pid?: number | null;
}
/**
 * A picture in an answer, as OpenAI writes it, and what is stored of it.
 */
export interface MadeImage {
  /**
   * The bytes of a PNG, in base64.
   */
  b64_json: string;
  /**
   * Always null: the answer holds the bytes.
   */
  url?: null;
  /**
   * Always null: the prompt is taken as it is.
   */
  revised_prompt?: null;
  image: Image;
}
/**
 * Answers a request for pictures, as OpenAI writes it.
 */
export interface MadeImages {
  /**
   * When, in seconds since 1970.
   */
  created: number;
  /**
   * The pictures.
   */
  data: MadeImage[];
  /**
   * Width and height of each.
   */
  size: string;
  /**
   * Format of the bytes.
   */
  output_format?: "png";
}
/**
 * What was put before one of a team for its answer, and what that used.
 */
export interface MemberReceipt {
  /**
   * Its name.
   */
  profile: string;
  /**
   * Id of its model.
   */
  model: string;
  /**
   * Tokens of its model's window; 0 where there was none.
   */
  context_length?: number;
  /**
   * Tokens kept free for its answer.
   */
  answer_tokens?: number;
  /**
   * Tokens of its prompt, chat template included.
   */
  n_tokens?: number;
  /**
   * Every piece considered, in the order of the window.
   */
  items?: ReceiptItem[];
  /**
   * What its answer used, which the usage of the turn counts, too; null where there is none.
   */
  usage?: Usage | null;
  /**
   * Why it could not answer; null where it did.
   */
  error?: string | null;
}
/**
 * One piece that was considered for the window.
 */
export interface ReceiptItem {
  kind: SourceKind;
  /**
   * Message, document, summary or fact it comes from; null for the system prompt.
   */
  source_id?: string | null;
  /**
   * Name of the document it stands in, with the page where there is one.
   */
  source?: string | null;
  /**
   * Where it begins in the document's text, in Unicode characters.
   */
  start?: number | null;
  /**
   * Where it ends there.
   */
  end?: number | null;
  /**
   * Who said it; null for a passage of a document, a summary and a fact.
   */
  role?: Role | null;
  /**
   * Login name of who said it in a conversation that they share; null for what is one's own.
   */
  shared_by?: string | null;
  /**
   * What it says.
   */
  text: string;
  /**
   * When it was said, or the document added.
   */
  said_at?: string | null;
  /**
   * Tokens it takes in the window.
   */
  n_tokens: number;
  /**
   * Relevance to the question; null where none was computed.
   */
  score?: number | null;
  /**
   * True when it is in the window.
   */
  included: boolean;
  /**
   * Why it is in or out, in words.
   */
  reason: string;
}
/**
 * A turn that can be found again.
 */
export interface Memory {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Where it was said.
   */
  conversation_id: string;
  /**
   * The message it came from.
   */
  message_id: string;
  /**
   * Index of the message in its conversation, from 0.
   */
  position: number;
  role: Role;
  /**
   * Who speaks by name, where several share a role.
   */
  name?: string | null;
  /**
   * What was said.
   */
  text: string;
  /**
   * When it was said.
   */
  created_at: string;
}
/**
 * A memory found by a search.
 */
export interface MemoryHit {
  memory: Memory;
  /**
   * Relevance in [0, 1]: words, meaning, neighbours and speaker taken together.
   */
  score: number;
  /**
   * Cosine similarity in [-1, 1], higher is closer; null for a memory of another embedding model, which waits for `lab db reembed`.
   */
  similarity: number | null;
}
/**
 * Memory of a device that a program has for its own use, as long as it keeps the connection open.
 */
export interface MemoryLease {
  /**
   * Under which the account shows it.
   */
  name: string;
  /**
   * Of which device, as torch names it.
   */
  device: string;
  /**
   * How much.
   */
  n_bytes: number;
}
/**
 * Corrects a memory.
 */
export interface MemoryUpdate {
  /**
   * What shall be remembered instead.
   */
  text: string;
}
/**
 * One turn of a conversation.
 */
export interface Message {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The conversation.
   */
  conversation_id: string;
  /**
   * Index in the conversation, from 0.
   */
  position: number;
  role: Role;
  /**
   * Who speaks by name, where several share a role.
   */
  name?: string | null;
  /**
   * What the message says, in order.
   */
  parts: MessagePart[];
  /**
   * What a user's message wants; null where nobody looked, or it could not be told.
   */
  intent?: Intent | null;
  /**
   * Probability that the model gave the intent; null where it told none.
   */
  intent_confidence?: number | null;
  /**
   * The run that wrote it.
   */
  run_id?: string | null;
  /**
   * When it was stored.
   */
  created_at: string;
}
/**
 * Text of a message.
 */
export interface TextPart {
  /**
   * Discriminator.
   */
  type?: "text";
  /**
   * The text.
   */
  text: string;
}
/**
 * Reasoning of the model, apart from its answer.
 */
export interface ThinkingPart {
  /**
   * Discriminator.
   */
  type?: "thinking";
  /**
   * The reasoning.
   */
  text: string;
}
/**
 * A tool call inside a message.
 */
export interface ToolCallPart {
  /**
   * Discriminator.
   */
  type?: "tool_call";
  tool_call: ToolCall;
}
/**
 * What a tool answered.
 */
export interface ToolResultPart {
  /**
   * Discriminator.
   */
  type?: "tool_result";
  /**
   * The call it answers.
   */
  tool_call_id: string;
  /**
   * The result as text.
   */
  text: string;
}
/**
 * Messages to store without an answer.
 */
export interface MessageRequest {
  /**
   * What was said, oldest first.
   *
   * @minItems 1
   * @maxItems 256
   */
  messages: [SaidMessage, ...SaidMessage[]];
}
/**
 * A model that this lab can run.
 */
export interface Model {
  /**
   * Name in requests.
   */
  id: string;
  task: Task;
  /**
   * Folder or Hugging Face id the weights come from; of a remote model the address.
   */
  source: string;
  engine?: Engine;
  /**
   * Pinned revision of the source.
   */
  revision?: string | null;
  /**
   * One line for people.
   */
  description?: string;
  /**
   * Tokens of its window; null until its config was read.
   */
  context_length?: number | null;
  /**
   * True where it sees pictures; null until its config was read.
   */
  vision?: boolean | null;
  /**
   * Length of its embeddings; null for other tasks.
   */
  dim?: number | null;
  /**
   * Whether its chat template knows tools; null until that was read.
   */
  tools?: boolean | null;
  /**
   * Whether its chat template lets it think when asked to; null until that was read.
   */
  thinking?: boolean | null;
  /**
   * True for a model made to demonstrate the lab.
   */
  is_demo?: boolean;
  /**
   * True while the weights are in memory.
   */
  loaded?: boolean;
}
/**
 * A name that requests may use as `model`, as OpenAI writes it, and a little more.
 */
export interface ModelCard {
  /**
   * Name in requests.
   */
  id: string;
  /**
   * Kind of object.
   */
  object?: "model";
  /**
   * Since when this process offers it, in seconds since 1970.
   */
  created: number;
  /**
   * Who offers it.
   */
  owned_by: string;
  /**
   * Id of the model behind the name.
   */
  model: string;
  task: Task;
  /**
   * One line for people.
   */
  description?: string;
  /**
   * Tokens of its window; null until its config was read.
   */
  context_length?: number | null;
  /**
   * Length of its embeddings; null for other tasks.
   */
  dim?: number | null;
  /**
   * Whether its chat template knows tools; null until that was read.
   */
  tools?: boolean | null;
  /**
   * True where it sees pictures; null until its config was read.
   */
  vision?: boolean | null;
  /**
   * Whether its chat template lets it think when asked to; null until that was read.
   */
  thinking?: boolean | null;
  /**
   * Hugging Face id that its files come from; null for a folder.
   */
  hub_id?: string | null;
  /**
   * Folder that its files come from, for administrators; null for others and for a Hugging Face model.
   */
  folder?: string | null;
  /**
   * Pinned revision of that; null for whatever is newest.
   */
  revision?: string | null;
  /**
   * Bytes of its files on the lab's machine; null where they are not all there.
   */
  size_bytes?: number | null;
  /**
   * True for a model made to demonstrate the lab.
   */
  is_demo?: boolean;
  /**
   * True while the weights are in memory.
   */
  loaded?: boolean;
}
/**
 * The names that requests may use as `model`.
 */
export interface ModelList {
  /**
   * Kind of object.
   */
  object?: "list";
  /**
   * The names.
   */
  data: ModelCard[];
}
/**
 * Pins a model to a commit whose files are on the lab's machine.
 */
export interface ModelPin {
  /**
   * The commit.
   */
  revision: string;
}
/**
 * Adds a model to the lab.
 */
export interface ModelRequest {
  /**
   * Hugging Face id, or a folder on the lab's machine.
   */
  source: string;
  /**
   * Name in requests; null for the id, or the name of the folder.
   */
  name?: string | null;
  /**
   * Branch, tag or commit of a Hugging Face model; null for the newest.
   */
  revision?: string | null;
  task?: Task;
  /**
   * One line for people.
   */
  description?: string;
}
/**
 * A tool that the lab runs itself when the model calls it.
 */
export interface OfferedTool {
  /**
   * Name of the tool.
   */
  name: string;
  /**
   * What the tool does, for the model.
   */
  description: string;
  /**
   * JSON Schema of the arguments.
   */
  parameters: {
    [k: string]: unknown;
  };
  /**
   * Whether the user's stored conversations have it (`tools.enabled`).
   */
  enabled: boolean;
  /**
   * Whether it works on what is stored of the user, for which a turn needs a conversation or `memory`.
   */
  personal: boolean;
}
/**
 * The profiles that the caller may name.
 */
export interface ProfileList {
  /**
   * Those of the lab.
   */
  system: ModelProfile[];
  /**
   * The caller's own, by name.
   */
  own: StoredProfile[];
}
/**
 * A model profile that a user made.
 */
export interface StoredProfile {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Counts the changes, from 1; a change names the version that it was made to.
   */
  version: number;
  profile: ModelProfile;
  /**
   * When it was made.
   */
  created_at: string;
}
/**
 * Puts another profile in the place of one's own.
 */
export interface ProfileUpdate {
  /**
   * The version that was read and is changed.
   */
  version: number;
  profile: ModelProfile;
}
/**
 * A provider whose search failed.
 */
export interface ProviderFailure {
  provider: SearchProviderKind;
  /**
   * What went wrong.
   */
  message: string;
}
/**
 * What was put before the model for one answer, and why.
 */
export interface Receipt {
  /**
   * The run it belongs to; null before the run is stored.
   */
  run_id?: string | null;
  /**
   * Id of the model.
   */
  model: string;
  /**
   * Tokens of the model's window.
   */
  context_length: number;
  /**
   * Tokens kept free for the answer.
   */
  answer_tokens: number;
  /**
   * Tokens of the prompt, chat template included.
   */
  n_tokens: number;
  /**
   * Memories of another embedding model, found by their words alone until `lab db reembed`.
   */
  n_waiting?: number;
  /**
   * By which workflow it was answered, and why; null for a window that nobody answered.
   */
  route?: Route | null;
  /**
   * Every piece considered, in the order of the window.
   */
  items: ReceiptItem[];
  /**
   * Of a team: what was put before each member, in the order of the team.
   */
  members?: MemberReceipt[];
}
/**
 * By which workflow a turn is answered, and why.
 */
export interface Route {
  /**
   * Its name.
   */
  workflow: string;
  source: RouteSource;
  /**
   * What the message wants; null where nobody looked, or it could not be told.
   */
  intent?: Intent | null;
  /**
   * Probability that the model gave the intent; null where it told none.
   */
  confidence?: number | null;
  /**
   * Why the intent could not be told, or is not followed; empty where it is.
   */
  reason?: string;
}
/**
 * A document to rank.
 */
export interface RerankDocument {
  /**
   * Its text.
   */
  text: string;
}
/**
 * What clients of Cohere, Jina and vLLM send to /v1/rerank.
 */
export interface RerankRequest {
  /**
   * The reranker; null for the lab's.
   */
  model?: string | null;
  /**
   * The question.
   */
  query: string;
  /**
   * What is to be ranked.
   */
  documents: (string | RerankDocument)[];
  /**
   * Return so many of the best; null for all.
   */
  top_n?: number | null;
  /**
   * Return the text of each document with its score.
   */
  return_documents?: boolean;
}
/**
 * Documents ranked by a question, the best first.
 */
export interface RerankResponse {
  /**
   * Of this answer.
   */
  id: string;
  /**
   * Id of the model.
   */
  model: string;
  /**
   * The documents, the best first.
   */
  results: RerankResult[];
  usage: EmbeddingUsage;
}
/**
 * How well a document answers the question.
 */
export interface RerankResult {
  /**
   * Place of the document in the request, from 0.
   */
  index: number;
  /**
   * From 0 to 1; higher is better.
   */
  relevance_score: number;
  /**
   * The document, where it was asked for.
   */
  document?: RerankDocument | null;
}
/**
 * A claim of a report, and the place in a page that proves it.
 */
export interface ResearchCitation {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The task whose report it is in.
   */
  task_id: string;
  /**
   * Index among the citations of the report, from 0.
   */
  position: number;
  /**
   * Of the source, as the report shows it, from 1; claims that the same quote proves share it.
   */
  number: number;
  /**
   * What the report says.
   */
  claim: string;
  /**
   * The page that is cited; null where it was deleted since, so that the quote cannot be looked up any more.
   */
  page_id: string | null;
  /**
   * Address of the page.
   */
  url: string;
  /**
   * Title of the page; its address where it has none.
   */
  title: string;
  /**
   * What the page says, character by character.
   */
  quote: string;
  /**
   * Where the quote begins in the text of the page, in Unicode characters.
   */
  start: number;
  /**
   * Where it ends; the character there is the first that is not of it.
   */
  end: number;
  /**
   * Of the body of the page's snapshot.
   */
  sha256: string;
  /**
   * Cosine of claim and quote, in [-1, 1].
   */
  score: number;
  /**
   * Whether the quote stands there in that snapshot, and proves the claim.
   */
  verified: boolean;
  /**
   * Why it is not verified; null where it is.
   */
  reason: string | null;
  /**
   * When it was checked.
   */
  created_at: string;
}
/**
 * A task of research with its steps, what they found, and what its report cites.
 */
export interface ResearchDetails {
  task: ResearchTask;
  /**
   * Its steps, the first one first.
   */
  steps: ResearchStep[];
  /**
   * What its searches found, question by question, the best first.
   */
  results: SearchResult[];
  /**
   * What its report cites, in the order of the report.
   */
  citations: ResearchCitation[];
}
/**
 * A question that is answered by research, step by step.
 */
export interface ResearchTask {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Counts the changes, from 1; a change names the version that it was made to.
   */
  version: number;
  /**
   * The conversation it was asked in; null for none.
   */
  conversation_id?: string | null;
  /**
   * The run that works on it, or did so last; null before the first.
   */
  run_id?: string | null;
  /**
   * Profile that plans and sums up; null for the one that the settings name.
   */
  profile?: string | null;
  /**
   * Replay earlier searches and read snapshots, without the network.
   */
  offline?: boolean;
  /**
   * Of what models answer.
   */
  seed?: number;
  limits: ResearchConfig;
  /**
   * What is to be found out.
   */
  question: string;
  status: RunStatus;
  /**
   * The answer with its citations; null until it is written.
   */
  report?: string | null;
  /**
   * What went wrong, or what it waits for, for people.
   */
  error?: string | null;
  /**
   * When it was asked for.
   */
  created_at: string;
  /**
   * When it ended.
   */
  finished_at?: string | null;
}
/**
 * One step of a research task.
 */
export interface ResearchStep {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The task.
   */
  task_id: string;
  /**
   * Index among the steps of the task, from 0.
   */
  position: number;
  kind: ResearchStepKind;
  /**
   * The question that it is about: one of the plan, or that of the task.
   */
  question: string;
  status: RunStatus;
  /**
   * What came of it; null until it ended.
   */
  result?: string | null;
  /**
   * What went wrong, for people.
   */
  error?: string | null;
  /**
   * When it was planned.
   */
  created_at: string;
  /**
   * When it ended.
   */
  finished_at?: string | null;
}
/**
 * A page that a search of the web found, with what was read there.
 */
export interface SearchResult {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The step of research that it is a source of; null for none.
   */
  step_id?: string | null;
  /**
   * What was searched for.
   */
  query: string;
  /**
   * Who was asked.
   */
  provider: string;
  /**
   * Rank among the results of the search, from 0.
   */
  position: number;
  /**
   * Address of the page.
   */
  url: string;
  /**
   * Title of the page.
   */
  title: string;
  /**
   * What the provider shows of it.
   */
  snippet: string;
  /**
   * Main text of the page as it was read, which citations are checked against; null until then.
   */
  text?: string | null;
  /**
   * The page as it was read for research; null where it was not, or was deleted since.
   */
  page_id?: string | null;
  /**
   * Why research did not read it; null where it did, or did not try.
   */
  failure?: string | null;
  /**
   * When it was found.
   */
  created_at: string;
}
/**
 * Asks for research.
 */
export interface ResearchRequest {
  /**
   * What is to be found out.
   */
  question: string;
  /**
   * Profile or model that plans and sums up; null for `roles.research`, else the user's.
   */
  profile?: string | null;
  /**
   * The conversation it is asked in; null for none.
   */
  conversation_id?: string | null;
  /**
   * Replay earlier searches and read snapshots, without the network.
   */
  offline?: boolean;
  /**
   * Of what models answer; null for one that follows from the question.
   */
  seed?: number | null;
  /**
   * Settings to try instead of the user's, by section, e.g. {"research": {"max_pages": 30}}.
   */
  settings?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
}
/**
 * Who holds which memory, and why.
 */
export interface Residency {
  /**
   * Devices that hold models.
   */
  devices: DeviceAccount[];
  /**
   * The models.
   */
  models: Resident[];
  /**
   * The last decisions, newest first.
   */
  decisions: Decision[];
}
/**
 * A model in a device's memory.
 */
export interface Resident {
  /**
   * Its name.
   */
  model: string;
  /**
   * Where it is.
   */
  device: string;
  /**
   * Further devices of which it takes as much.
   */
  beside?: string[];
  /**
   * Form of its linear layers' weights.
   */
  form: string;
  state: ResidencyState;
  /**
   * What it was said to need before it was loaded.
   */
  foretold_bytes: number;
  /**
   * What its weights, keys and values take now.
   */
  used_bytes: number;
  /**
   * What of that its weights are, and the rest keys and values; null where only the whole is known, as under vLLM.
   */
  weight_bytes: number | null;
  /**
   * What nobody else may take because of it.
   */
  taken_bytes: number;
  /**
   * Who uses it now.
   */
  leases: Lease[];
  /**
   * True for a model that is never evicted.
   */
  pinned: boolean;
  /**
   * Among models that may leave, those of the lowest leave first.
   */
  priority: number;
  /**
   * Seconds since the last use ended; 0 while it is used.
   */
  idle_s: number;
}
/**
 * How a model shares the memory from now on; what is left out stays.
 */
export interface ResidencyUpdate {
  /**
   * Never evict it.
   */
  pinned?: boolean | null;
  /**
   * Among models that may leave, those of the lowest leave first.
   */
  priority?: number | null;
  /**
   * Forget at the next load what its device was found to bear when it ran out of memory.
   */
  relearn?: boolean;
}
/**
 * How to go on with an interrupted run.
 */
export interface ResumeRequest {
  /**
   * The answer to what the run asks; any JSON, null where it asks nothing.
   */
  reply?: {
    [k: string]: unknown;
  };
}
/**
 * One execution: a chat turn, an evaluation or research.
 */
export interface Run {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  kind: RunKind;
  status: RunStatus;
  /**
   * The conversation it belongs to; null for a stateless request.
   */
  conversation_id?: string | null;
  /**
   * Profile that was asked for.
   */
  profile?: string | null;
  /**
   * Parameters as used, seed included.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * Of a turn that is kept, to go on with it: the turn without what was said, its system messages, how many messages were stored, and the names of the tools of the lab that it was offered.
   */
  asked?: {
    [k: string]: unknown;
  } | null;
  on_disconnect?: Disconnect;
  /**
   * The run that began the turn, of one that goes on with it.
   */
  resumes?: string | null;
  /**
   * What programs keep with it, as `metadata` of a run of the Agent Protocol.
   */
  details?: {
    [k: string]: unknown;
  };
  /**
   * What it cost.
   */
  usage?: Usage | null;
  /**
   * What was in the window.
   */
  receipt?: Receipt | null;
  /**
   * What went wrong, for people.
   */
  error?: string | null;
  /**
   * When it was asked for.
   */
  created_at: string;
  /**
   * When it ended.
   */
  finished_at?: string | null;
}
/**
 * What a run that waits goes on with.
 */
export interface RunCommand {
  /**
   * The reply to what it asks; any JSON.
   */
  resume: {
    [k: string]: unknown;
  };
}
/**
 * How an agent is to answer.
 */
export interface RunConfig {
  /**
   * Words kept with the run.
   *
   * @maxItems 100
   */
  tags?: string[];
  /**
   * What the config schema of the agent names.
   */
  configurable?: RunConfigurable | null;
}
/**
 * What can be set for one run.
 */
export interface RunConfigurable {
  /**
   * Sampling; keys that are not set come from the user's settings and the profile.
   */
  parameters?: GenerationParameters | null;
  /**
   * Put memories before the model; null for the user's setting.
   */
  memory?: boolean | null;
  /**
   * Settings to try instead of the user's, by section.
   */
  settings?: {
    [k: string]: {
      [k: string]: unknown;
    };
  };
}
/**
 * What came of code that ran in the sandbox.
 */
export interface SandboxResult {
  ended: SandboxEnd;
  /**
   * What it returned; null unless it was done.
   */
  value?: {
    [k: string]: unknown;
  };
  /**
   * What went wrong, for people; null when it was done.
   */
  error?: string | null;
  /**
   * What it printed, cut at the lab's limit.
   */
  stdout?: string;
  /**
   * What it wrote to standard error, cut at the lab's limit.
   */
  stderr?: string;
  /**
   * How long it took, with the start of the interpreter.
   */
  seconds: number;
}
/**
 * An evaluation that runs by the clock.
 */
export interface Schedule {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Unique name.
   */
  name: string;
  /**
   * Five-field cron expression, in UTC.
   */
  cron: string;
  /**
   * Name of the evaluation.
   */
  evaluation: string;
  /**
   * Papermill parameters.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * False while paused.
   */
  enabled?: boolean;
  /**
   * When it was made.
   */
  created_at: string;
  /**
   * When it last started.
   */
  last_run_at?: string | null;
  /**
   * When it is due.
   */
  next_run_at?: string | null;
  /**
   * Why nothing starts it when it is due, for people; null when all is well.
   */
  warning?: string | null;
}
/**
 * Asks for a new schedule.
 */
export interface ScheduleRequest {
  /**
   * Unique name.
   */
  name: string;
  /**
   * Five-field cron expression, in UTC.
   */
  cron: string;
  /**
   * Name of the evaluation, e.g. long_memory.
   */
  evaluation: string;
  /**
   * Values other than the notebook's own.
   */
  parameters?: {
    [k: string]: unknown;
  };
  /**
   * False to make it paused.
   */
  enabled?: boolean;
}
/**
 * Changes a schedule; what is unset stays as it is.
 */
export interface ScheduleUpdate {
  /**
   * Five-field cron expression, in UTC.
   */
  cron?: string | null;
  /**
   * Values other than the notebook's own.
   */
  parameters?: {
    [k: string]: unknown;
  } | null;
  /**
   * False to pause it.
   */
  enabled?: boolean | null;
}
/**
 * What OpenAI's clients send to /v1/audio/speech.
 */
export interface SpeechRequest {
  /**
   * The text to speak.
   */
  input: string;
  /**
   * The model; null for the lab's.
   */
  model?: string | null;
  /**
   * Number of a voice of the model, from 0; `default` and null = the first.
   */
  voice?: string | null;
  response_format?: SoundFormat;
  /**
   * 1 = as the model speaks.
   */
  speed?: number;
  /**
   * The same seed gives the same speech.
   */
  seed?: number;
}
/**
 * A document to delete.
 */
export interface StoreDeleteRequest {
  /**
   * Where it lies, as a path.
   *
   * @maxItems 8
   */
  namespace?:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string];
  /**
   * Its name in the namespace.
   */
  key: string;
}
/**
 * A document that a program keeps for a user, across conversations.
 */
export interface StoreItem {
  /**
   * Where it lies, as a path.
   *
   * @maxItems 8
   */
  namespace:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string];
  /**
   * Its name in the namespace.
   */
  key: string;
  /**
   * The document.
   */
  value: {
    [k: string]: unknown;
  };
  /**
   * When it was stored first.
   */
  created_at: string;
  /**
   * When it was stored last.
   */
  updated_at: string;
}
/**
 * Which namespaces to list.
 */
export interface StoreNamespacesRequest {
  /**
   * How they begin.
   *
   * @maxItems 8
   */
  prefix?:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string];
  /**
   * How they end.
   *
   * @maxItems 8
   */
  suffix?:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string];
  /**
   * Parts that are shown of each.
   */
  max_depth?: number | null;
  /**
   * Most namespaces.
   */
  limit?: number;
  /**
   * Namespaces to leave out first.
   */
  offset?: number;
}
/**
 * A document to store, in the place of the one that is there.
 */
export interface StorePutRequest {
  /**
   * Where it lies, as a path.
   *
   * @maxItems 8
   */
  namespace:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string];
  /**
   * Its name in the namespace.
   */
  key: string;
  /**
   * The document.
   */
  value: {
    [k: string]: unknown;
  };
}
/**
 * Which documents to list, the one stored last first.
 */
export interface StoreSearchRequest {
  /**
   * How their namespaces begin.
   *
   * @maxItems 8
   */
  namespace_prefix?:
    | []
    | [string]
    | [string, string]
    | [string, string, string]
    | [string, string, string, string]
    | [string, string, string, string, string]
    | [string, string, string, string, string, string]
    | [string, string, string, string, string, string, string]
    | [string, string, string, string, string, string, string, string]
    | null;
  /**
   * What they hold, keys with values.
   */
  filter?: {
    [k: string]: unknown;
  } | null;
  /**
   * Most documents.
   */
  limit?: number;
  /**
   * Documents to leave out first.
   */
  offset?: number;
}
/**
 * The documents that were found.
 */
export interface StoreSearchResponse {
  /**
   * The documents.
   */
  items: StoreItem[];
}
/**
 * What a stretch of a conversation told.
 */
export interface Summary {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The conversation it is of.
   */
  conversation_id: string;
  /**
   * 1 is made from messages, 2 and 3 from summaries of the level below; 4 is the master.
   */
  level: number;
  /**
   * Index of the first message that it covers.
   */
  first_position: number;
  /**
   * Index of the last message that it covers.
   */
  last_position: number;
  style: SummaryStyle;
  /**
   * Id of the model that wrote it or the summaries it joins.
   */
  model: string;
  /**
   * What it tells; empty where nothing worth telling was said.
   */
  text: string;
  /**
   * Tokens of the text for that model.
   */
  n_tokens: number;
  /**
   * What it was made from, the earliest first.
   */
  sources: SummarySource[];
  /**
   * When the last of what it covers was said.
   */
  said_at: string;
  /**
   * When it was first written.
   */
  created_at: string;
}
/**
 * What a summary was made from: a memory or a summary of the level below.
 */
export interface SummarySource {
  /**
   * The memory; null for a summary.
   */
  memory_id?: string | null;
  /**
   * The summary of the level below; null for a memory.
   */
  source_summary_id?: string | null;
}
/**
 * A conversation, as the Agent Protocol writes it.
 */
export interface Thread {
  /**
   * Identifier, of the conversation.
   */
  thread_id: string;
  /**
   * When it was opened.
   */
  created_at: string;
  /**
   * When its last message was stored.
   */
  updated_at: string;
  /**
   * What programs keep with it.
   */
  metadata: {
    [k: string]: unknown;
  };
  status: ThreadStatus;
  /**
   * Its state: `messages`; left out in lists.
   */
  values?: {
    [k: string]: unknown;
  } | null;
  /**
   * Its messages, the first said first; left out in lists.
   */
  messages?: ThreadMessage[] | null;
}
/**
 * A message of a thread, as the Agent Protocol and LangChain write it.
 */
export interface ThreadMessage {
  /**
   * Who speaks: user, assistant, system or tool.
   */
  role: string;
  /**
   * The same in LangChain's words: human, ai, system or tool.
   */
  type?: string;
  /**
   * The text; blocks where files come with it.
   */
  content:
    | string
    | {
        [k: string]: unknown;
      }[];
  /**
   * Identifier; of an answer that is not stored, one of its run.
   */
  id?: string | null;
  /**
   * Who speaks by name.
   */
  name?: string | null;
  /**
   * Tools that are called, each with `id`, `name` and `args`.
   */
  tool_calls?: {
    [k: string]: unknown;
  }[];
  /**
   * The call that is answered.
   */
  tool_call_id?: string | null;
  /**
   * Its run, when it was said, and what was thought before it.
   */
  metadata?: {
    [k: string]: unknown;
  };
  [k: string]: unknown;
}
/**
 * An entry of the history of a thread.
 */
export interface ThreadCheckpoint {
  /**
   * Identifier.
   */
  checkpoint_id: string;
  /**
   * The thread.
   */
  thread_id?: string | null;
  /**
   * Always empty: no graph within a graph.
   */
  checkpoint_ns?: string | null;
  [k: string]: unknown;
}
/**
 * A new thread.
 */
export interface ThreadCreate {
  /**
   * Its id, where the program chooses it.
   */
  thread_id?: string | null;
  /**
   * What programs keep with it.
   */
  metadata?: {
    [k: string]: unknown;
  };
  if_exists?: IfExists;
}
/**
 * Which states of a thread to list, newest first.
 */
export interface ThreadHistoryRequest {
  /**
   * Most of them.
   */
  limit?: number;
  /**
   * Only those before this one: a checkpoint, or its id.
   */
  before?: string | ThreadCheckpoint | null;
}
/**
 * What to change of a thread.
 */
export interface ThreadPatch {
  /**
   * Keys to set; others stay.
   */
  metadata?: {
    [k: string]: unknown;
  };
  /**
   * State to merge: `messages` are added to those there are.
   */
  values?: {
    [k: string]: unknown;
  };
  /**
   * Messages to add, without an answer.
   *
   * @maxItems 1000
   */
  messages?: {
    [k: string]: unknown;
  }[];
}
/**
 * A run, as the Agent Protocol writes it.
 */
export interface ThreadRun {
  /**
   * Identifier.
   */
  run_id: string;
  /**
   * Its thread; null where none is kept.
   */
  thread_id?: string | null;
  /**
   * The profile that was asked.
   */
  agent_id?: string | null;
  /**
   * The same, as LangGraph's clients call it.
   */
  assistant_id?: string | null;
  /**
   * When it was asked for.
   */
  created_at: string;
  /**
   * When it ended, or began.
   */
  updated_at: string;
  status: ThreadRunStatus;
  /**
   * What programs keep with it.
   */
  metadata: {
    [k: string]: unknown;
  };
  multitask_strategy?: MultitaskStrategy;
}
/**
 * What to run, as the Agent Protocol and the clients of LangGraph write it.
 */
export interface ThreadRunRequest {
  /**
   * The thread to run in; without one, no thread is kept unless `on_completion` is `keep`, and the run with its events until it is deleted.
   */
  thread_id?: string | null;
  /**
   * Profile or model to answer; null for the lab's default.
   */
  agent_id?: string | null;
  /**
   * The same, as LangGraph's clients call it.
   */
  assistant_id?: string | null;
  /**
   * `{"messages": [...]}`, a message, or a text; nothing where a run is gone on with or run again.
   */
  input?: {
    [k: string]: unknown;
  };
  /**
   * The messages, instead of `input`.
   *
   * @maxItems 1000
   */
  messages?:
    | {
        [k: string]: unknown;
      }[]
    | null;
  /**
   * What to keep with the run.
   */
  metadata?: {
    [k: string]: unknown;
  };
  /**
   * How to answer.
   */
  config?: RunConfig | null;
  /**
   * Go on with the run of the thread that waits.
   */
  command?: RunCommand | null;
  /**
   * A state of the thread to run from, in a fork of it.
   */
  checkpoint?: ThreadCheckpoint | null;
  /**
   * The same by its id.
   */
  checkpoint_id?: string | null;
  /**
   * What becomes of the thread of a run that names none: deleted where this is not given.
   */
  on_completion?: OnCompletion | null;
  on_disconnect?: Disconnect;
  if_not_exists?: IfNotExists;
  multitask_strategy?: MultitaskStrategy;
  /**
   * What the stream tells.
   */
  stream_mode?: StreamMode | StreamMode[];
  /**
   * Whether the stream can be followed anew; it always can.
   */
  stream_resumable?: boolean | null;
  /**
   * Tell what graphs within a graph do; there are none.
   */
  stream_subgraphs?: false;
}
/**
 * What came of a run.
 */
export interface ThreadRunResult {
  run: ThreadRun;
  /**
   * The state: `messages`, and `__interrupt__` where the run asks something.
   */
  values: {
    [k: string]: unknown;
  };
  /**
   * The messages of the thread, the first said first; of a run without one, its answer.
   */
  messages: ThreadMessage[];
}
/**
 * Which runs to list, newest first.
 */
export interface ThreadRunSearch {
  /**
   * What programs keep with them.
   */
  metadata?: {
    [k: string]: unknown;
  } | null;
  /**
   * Where they stand.
   */
  status?: ThreadRunStatus | null;
  /**
   * Only those of this thread.
   */
  thread_id?: string | null;
  /**
   * Only those of this profile.
   */
  agent_id?: string | null;
  /**
   * Most of them.
   */
  limit?: number;
  /**
   * How many to leave out first.
   */
  offset?: number;
}
/**
 * Which threads to list, the one used last first.
 */
export interface ThreadSearchRequest {
  /**
   * What programs keep with them.
   */
  metadata?: {
    [k: string]: unknown;
  } | null;
  /**
   * These alone.
   *
   * @maxItems 1000
   */
  ids?: string[] | null;
  /**
   * Where they stand.
   */
  status?: ThreadStatus | null;
  /**
   * Most of them.
   */
  limit?: number;
  /**
   * How many to leave out first.
   */
  offset?: number;
}
/**
 * A thread as it was after a step of a run.
 */
export interface ThreadState {
  checkpoint: ThreadCheckpoint;
  /**
   * The state before.
   */
  parent_checkpoint?: ThreadCheckpoint | null;
  /**
   * The state: `messages`, and what stood before the model in `window`.
   */
  values: {
    [k: string]: unknown;
  };
  /**
   * Its messages then, the first said first.
   */
  messages?: ThreadMessage[];
  /**
   * The run that began the turn (`run_id`).
   */
  metadata?: {
    [k: string]: unknown;
  };
  /**
   * The step that came next.
   */
  next?: string[];
  /**
   * When it was so.
   */
  created_at?: string;
  /**
   * Steps that wait, each with the `interrupts` that it waits for.
   */
  tasks?: {
    [k: string]: unknown;
  }[];
  /**
   * What the run asks, to go on.
   */
  interrupts?: unknown[];
}
/**
 * Something that is to be done.
 */
export interface Todo {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * Counts the changes, from 1; a change names the version that it was made to.
   */
  version: number;
  /**
   * The conversation it came up in; null for none.
   */
  conversation_id?: string | null;
  /**
   * What is to be done.
   */
  text: string;
  status: TodoStatus;
  /**
   * When it was written down.
   */
  created_at: string;
}
/**
 * What was said in a recording, as OpenAI's `verbose_json` writes it.
 */
export interface Transcription {
  /**
   * What was done: `transcribe` or `translate`.
   */
  task: string;
  /**
   * Code of the language that was spoken; null where nothing was said, or the model knows one only.
   */
  language?: string | null;
  /**
   * Seconds of the recording.
   */
  duration: number;
  /**
   * All that was said; empty where nothing was.
   */
  text: string;
  /**
   * The same, bit by bit.
   */
  segments: TranscriptionSegment[];
}
/**
 * What was said from one moment to another.
 */
export interface TranscriptionSegment {
  /**
   * Its number, from 0.
   */
  id: number;
  /**
   * When it begins, in seconds.
   */
  start: number;
  /**
   * When it ends.
   */
  end: number;
  /**
   * What was said.
   */
  text: string;
}
/**
 * Something that happened while a recording is heard.
 */
export interface TranscriptionEvent {
  type: TranscriptionEventType;
  /**
   * How much of the recording is done.
   */
  seconds: number;
  /**
   * Seconds of the recording.
   */
  duration: number;
  /**
   * What was understood since the event before; null where nothing was.
   */
  delta?: string | null;
  /**
   * All that was said; null until the end.
   */
  text?: string | null;
  /**
   * The same with its segments; null until the end.
   */
  transcription?: Transcription | null;
}
/**
 * What OpenAI's clients send to /v1/audio/transcriptions and translations, beside the file.
 */
export interface TranscriptionRequest {
  /**
   * The model; null for the lab's.
   */
  model?: string | null;
  /**
   * Code of the language that is spoken, e.g. `de`; null = the model finds out.
   */
  language?: string | null;
  response_format?: TranscriptionFormat;
  /**
   * Only 0: the likeliest words, the same every time.
   */
  temperature?: number | null;
  /**
   * Only `segment`.
   */
  timestamp_granularities?: "segment"[] | null;
  /**
   * Send progress, then what was said, as Server-Sent Events.
   */
  stream?: boolean | null;
}
/**
 * What one person used of one model on one day.
 */
export interface UsageDay {
  /**
   * The day, in UTC.
   */
  day: string;
  /**
   * Login name.
   */
  user: string;
  /**
   * The model.
   */
  model: string;
  /**
   * Answers and titles that were finished.
   */
  n_generations: number;
  /**
   * Tokens of the prompts.
   */
  prompt_tokens: number;
  /**
   * Tokens generated.
   */
  completion_tokens: number;
  /**
   * Seconds of generation, without waiting.
   */
  seconds: number;
}
/**
 * The settings a user may override.
 */
export interface UserConfig {
  memory: MemoryConfig;
  documents: DocumentsConfig;
  context: ContextConfig;
  summaries: SummariesConfig;
  facts: FactsConfig;
  dynamic_tools: DynamicToolsConfig;
  generation: GenerationConfig;
  guards: GuardsConfig;
  tools: ToolsConfig;
  workflow: WorkflowConfig;
  research: ResearchConfig;
  roles: RolesConfig;
}
/**
 * A page that was not read.
 */
export interface WebFailure {
  /**
   * As it was asked for, or as a link names it.
   */
  url: string;
  reason: WebFailureReason;
  /**
   * What came, what was expected, what to do.
   */
  message: string;
}
/**
 * A page that a search found.
 */
export interface WebHit {
  /**
   * Its address.
   */
  url: string;
  /**
   * Its title.
   */
  title: string;
  /**
   * What the provider shows of it.
   */
  snippet: string;
  /**
   * Its day, as `2026-03-01`; null where the provider says none.
   */
  published_on?: string | null;
  /**
   * Who found it.
   */
  providers: SearchProviderKind[];
  /**
   * How near it is to the query in [0, 1], by meaning and by the ranks that it was found at.
   */
  score: number;
}
/**
 * What came of one address: the page, or why there is none.
 */
export interface WebOutcome {
  /**
   * The page as it was read.
   */
  page?: WebPage | null;
  /**
   * Why it was not read.
   */
  failure?: WebFailure | null;
}
/**
 * A page that was read; its snapshot is kept as WARC.
 */
export interface WebPage {
  /**
   * Identifier.
   */
  id: string;
  /**
   * User who owns the row.
   */
  owner_id: string;
  /**
   * The address that was asked for, in its canonical form.
   */
  requested_url: string;
  /**
   * The address that answered after all redirects.
   */
  url: string;
  /**
   * HTTP status.
   */
  status: number;
  /**
   * What it was read as, e.g. `text/html`.
   */
  media_type: string;
  /**
   * Its title; null where it names none, as for what follows.
   */
  title: string | null;
  /**
   * Who wrote it.
   */
  author: string | null;
  /**
   * The day of its text, as `2026-03-01`.
   */
  published_on: string | null;
  /**
   * The language that it declares, e.g. `en`.
   */
  language: string | null;
  /**
   * Its main text, lines ended by `\n`.
   */
  text: string;
  /**
   * Of the body as it was read.
   */
  sha256: string;
  /**
   * Size of the body.
   */
  n_bytes: number;
  /**
   * When this body was read last.
   */
  read_at: string;
  /**
   * When it was read first.
   */
  created_at: string;
}
/**
 * Asks for pages to be read.
 */
export interface WebReadRequest {
  /**
   * Where to begin.
   *
   * @minItems 1
   * @maxItems 100
   */
  urls: [string, ...string[]];
  /**
   * Most pages to read, links included; null for as many as `urls` names.
   */
  max_pages?: number | null;
  /**
   * How many links away from `urls` to go; 0 = only those.
   */
  max_depth?: number;
  /**
   * Read the newest snapshots of the owner's, without the network.
   */
  offline?: boolean;
}
/**
 * Asks for pages of the web.
 */
export interface WebSearchRequest {
  /**
   * What to look for.
   */
  query: string;
  /**
   * Most pages to return.
   */
  limit?: number;
  /**
   * Further wordings of the query that a model writes, and that are looked for too; 0 for none.
   */
  wordings?: number;
  /**
   * Whom to ask, the first choice first; null for search.providers.
   *
   * @minItems 1
   */
  providers?: [SearchProviderKind, ...SearchProviderKind[]] | null;
}
/**
 * What a search found, and which providers failed; where all fail the search does.
 */
export interface WebSearchResponse {
  /**
   * What was looked for: the query, and its further wordings.
   */
  queries: string[];
  /**
   * Pages, the nearest first; none where nothing was found.
   */
  hits: WebHit[];
  /**
   * Who answered.
   */
  asked: SearchProviderKind[];
  /**
   * Who failed.
   */
  failures: ProviderFailure[];
}
/**
 * What a model sees before it answers, and why.
 */
export interface Window {
  /**
   * What is put before the model.
   */
  messages: ChatMessage[];
  receipt: Receipt;
}
/**
 * A turn whose window is asked for instead of its answer.
 */
export interface WindowRequest {
  turn: ChatTurn;
  /**
   * Tokens of the window; null for the model's own.
   */
  context_length?: number | null;
}
