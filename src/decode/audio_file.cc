// SPDX-License-Identifier: Apache-2.0
#include "decode/audio_file.h"

#include <algorithm>
#include <string>

#include "decode/audio.h"
#include "decode/text.h"

namespace headrace {

Status check_audio_kind(Bytes bytes) {
  const std::string_view text = as_text(bytes.first(std::min<size_t>(bytes.size(), 12)));
  const bool riff = text.starts_with("RIFF") || text.starts_with("RF64");
  if ((riff && text.ends_with("WAVE")) || text.starts_with("fLaC")) return {};
  for (std::string_view known : {"OggS", "ID3", "FORM", "caff", "\xFF\xFB", ".snd"}) {
    if (text.starts_with(known)) {
      return unsupported("read audio: " + quoted(bytes.first(known.size())) +
                         ": WAV and FLAC are read; have the field as bytes and decode it in transform=");
    }
  }
  return corrupt("read audio: neither WAV nor FLAC: " + std::to_string(bytes.size()) + " bytes starting " +
                 quoted(bytes.first(std::min<size_t>(bytes.size(), 8))));
}

Status check_audio_options(const AudioOptions& options) {
  if (options.frames != 0 && options.channels == 0) {
    return invalid_argument("check audio options: frames= needs channels=: every row has the same shape");
  }
  if (options.channels > 1024) return invalid_argument("check audio options: channels above 1024");
  if (options.channels != 0 && options.frames > options.values_max / options.channels) {
    return invalid_argument("check audio options: frames x channels are more than values_max");
  }
  return {};
}

}  // namespace headrace
