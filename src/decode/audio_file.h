// SPDX-License-Identifier: Apache-2.0
//
// Which audio is read at all, told by a file's first bytes. Private to the audio decoder.
#pragma once

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

// kUnsupported for kinds that are known and not read, kCorrupt for what is no audio.
Status check_audio_kind(Bytes bytes);

}  // namespace headrace
