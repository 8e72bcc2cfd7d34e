// Reading what commands are made of, and saying what happened in words that stay the same when
// something irrelevant changes.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cache/entry.h"
#include "sync/message.h"
#include "sync/types.h"

namespace podmirror::scenario {

// Each throws std::runtime_error where the text is none.
std::int64_t Number(std::string_view text);
std::int64_t Duration(std::string_view text);  // "500ms", "5s", "-2h"; in milliseconds
std::uint64_t Size(std::string_view text);     // "64KiB", "1MiB"
bool Truth(std::string_view text);             // "true", "false"
sync::AckLevel Ack(std::string_view text);

// An hlc as the time since the run began that its wall part means, "4.0s", and "4.0s+2" where it
// stands so many steps above that moment.
std::string ToText(std::uint64_t hlc);
std::string ToText(sync::WriteRefusal refusal);
std::string ToText(const sync::WriteOutcome& outcome);
std::string ToText(const sync::Event& event);
// Empty for a heartbeat: there are too many.
std::string ToText(const sync::Message& message);

}  // namespace podmirror::scenario
