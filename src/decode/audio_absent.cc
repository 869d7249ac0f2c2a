// SPDX-License-Identifier: Apache-2.0
//
// Instead of audio.cc in builds without libsndfile.
#include "decode/audio.h"

namespace headrace {
namespace {
Status absent() {
  return unsupported("audio: this build of headrace has no libsndfile; install libsndfile1-dev and build again, or "
                     "decode with transform=");
}
}  // namespace

Result<AudioForm> audio_form(Bytes, const AudioOptions&) { return absent(); }
Status decode_audio(Bytes, const AudioOptions&, Dtype, uint64_t, MutableBytes) { return absent(); }

}  // namespace headrace
