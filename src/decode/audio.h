// SPDX-License-Identifier: Apache-2.0
//
// WAV (RIFF, RF64, extensible) and FLAC to samples, [frames, channels], as float32 in [-1, 1] or int16. No resampling:
// a file of another rate than the wanted one is an error. What other kinds libsndfile reads are refused, so that a
// field's bytes choose among two parsers and not thirty.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "decode/dtype.h"

namespace headrace {

enum class AudioCut { kFront, kRandom };  // where a piece of `frames` begins

struct AudioOptions {
  uint64_t frames = 0;    // 0: all; else exactly so many, a shorter file is filled up with zeros
  uint32_t channels = 0;  // 0: as stored (only with frames == 0); 1: mixed down (mean); else what must be stored
  uint32_t rate = 0;      // 0: any
  AudioCut cut = AudioCut::kFront;
  // Frames x channels of a whole file: an hour of 48 kHz stereo is 346 million, 1.4 GB of float32.
  uint64_t values_max = 400'000'000;
};

struct AudioForm {
  uint64_t frames = 0;
  uint32_t channels = 0;
};

// Status of the options themselves.
Status check_audio_options(const AudioOptions& options);
// What the file gives with these options, from its header.
Result<AudioForm> audio_form(Bytes bytes, const AudioOptions& options);
// `out` has exactly frames x channels values of `dtype` (kF32 or kI16). Where the piece begins is a function of `key`.
Status decode_audio(Bytes bytes, const AudioOptions& options, Dtype dtype, uint64_t key, MutableBytes out);

}  // namespace headrace
