//! Tests `usage` on the sessions of other agents than Claude Code: the rules of each agent with figures
//! worked out by hand, and the laws that hold for all of them.

mod codex;
mod codex_early;
mod copilot;
mod copilot_calls;
mod damaged;
mod gemini;
mod gemini_documents;
mod harness;
mod hostile;
mod kimi;
mod pi;
mod qwen;
mod trial;
