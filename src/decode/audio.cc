// SPDX-License-Identifier: Apache-2.0
#include "decode/audio.h"

#include <sndfile.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "decode/audio_file.h"
#include "decode/draws.h"

namespace headrace {
namespace {

// What libsndfile itself allows; more is not sound.
constexpr int kChannelsMax = 1024;
// Mixing down takes a piece of this many values at a time.
constexpr uint64_t kMixValues = 1 << 16;

// The file as libsndfile reads it.
struct Source {
  Bytes bytes;
  sf_count_t at = 0;
};

sf_count_t length_of(void* user) { return static_cast<sf_count_t>(static_cast<Source*>(user)->bytes.size()); }
sf_count_t seek_in(sf_count_t offset, int whence, void* user) {
  auto& source = *static_cast<Source*>(user);
  const sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? source.at : length_of(user);
  source.at = std::clamp<sf_count_t>(base + offset, 0, length_of(user));
  return source.at;
}
sf_count_t read_from(void* to, sf_count_t count, void* user) {
  auto& source = *static_cast<Source*>(user);
  const sf_count_t n = std::clamp<sf_count_t>(length_of(user) - source.at, 0, std::max<sf_count_t>(count, 0));
  if (n > 0) std::memcpy(to, source.bytes.data() + source.at, static_cast<size_t>(n));
  source.at += n;
  return n;
}
sf_count_t write_to(const void*, sf_count_t, void*) { return 0; }
sf_count_t tell(void* user) { return static_cast<Source*>(user)->at; }

struct Close {
  void operator()(SNDFILE* file) const { sf_close(file); }
};

struct Opened {
  std::unique_ptr<Source> source;
  std::unique_ptr<SNDFILE, Close> file;
  SF_INFO info{};
};

Result<Opened> open(Bytes bytes, const AudioOptions& options) {
  HR_TRY(check_audio_kind(bytes));
  Opened opened;
  opened.source = std::make_unique<Source>(Source{bytes});
  SF_VIRTUAL_IO io{length_of, seek_in, read_from, write_to, tell};
  opened.file.reset(sf_open_virtual(&io, SFM_READ, &opened.info, opened.source.get()));
  if (!opened.file) return corrupt(std::string("read audio: ") + sf_strerror(nullptr));
  const SF_INFO& info = opened.info;
  if (info.frames < 0 || info.channels <= 0 || info.channels > kChannelsMax) {
    return corrupt("read audio: " + std::to_string(info.frames) + " frames of " + std::to_string(info.channels) +
                   " channels");
  }
  const auto frames = static_cast<uint64_t>(info.frames);
  if (frames > options.values_max / static_cast<uint64_t>(info.channels)) {
    return exhausted("read audio: " + std::to_string(frames) + " frames of " + std::to_string(info.channels) +
                     " channels are more than values_max = " + std::to_string(options.values_max));
  }
  if (options.rate != 0 && info.samplerate != static_cast<int>(options.rate)) {
    return corrupt("read audio: " + std::to_string(info.samplerate) + " Hz where rate=" +
                   std::to_string(options.rate) + " is wanted; nothing is resampled");
  }
  if (options.channels > 1 && info.channels != static_cast<int>(options.channels)) {
    return corrupt("read audio: " + std::to_string(info.channels) + " channels where " +
                   std::to_string(options.channels) + " are wanted");
  }
  return opened;
}

sf_count_t read_frames(SNDFILE* file, float* to, sf_count_t frames) { return sf_readf_float(file, to, frames); }
sf_count_t read_frames(SNDFILE* file, int16_t* to, sf_count_t frames) { return sf_readf_short(file, to, frames); }

Status short_of(uint64_t read, uint64_t wanted) {
  return corrupt("read audio: frame " + std::to_string(read) + " of " + std::to_string(wanted) +
                 " cannot be read: the file is damaged or cut off");
}

// Reads `frames` frames to `out`, of `channels` values each where one is made of `stored`.
template <class T>
Status read_values(SNDFILE* file, uint64_t frames, uint32_t stored, uint32_t channels, T* out) {
  if (stored == channels) {
    const sf_count_t got = read_frames(file, out, static_cast<sf_count_t>(frames));
    return got == static_cast<sf_count_t>(frames) ? Status() : short_of(static_cast<uint64_t>(got), frames);
  }
  std::vector<T> piece(std::max<uint64_t>(1, kMixValues / stored) * stored);
  for (uint64_t done = 0; done < frames;) {
    const uint64_t want = std::min<uint64_t>(frames - done, piece.size() / stored);
    if (read_frames(file, piece.data(), static_cast<sf_count_t>(want)) != static_cast<sf_count_t>(want)) {
      return short_of(done, frames);
    }
    for (uint64_t i = 0; i < want; ++i) {
      double sum = 0;
      for (uint32_t c = 0; c < stored; ++c) sum += piece[i * stored + c];
      out[done + i] = static_cast<T>(sum / stored);
    }
    done += want;
  }
  return {};
}

template <class T>
Status decode_as(Opened& opened, const AudioForm& form, const AudioOptions& options, uint64_t key, MutableBytes out) {
  const auto stored = static_cast<uint64_t>(opened.info.frames);
  const uint64_t frames = std::min(stored, form.frames);
  if (options.cut == AudioCut::kRandom && stored > frames) {
    const auto begin = static_cast<sf_count_t>(Draws(key).bounded(stored - frames + 1));
    if (sf_seek(opened.file.get(), begin, SEEK_SET) != begin) {
      return corrupt("read audio: frame " + std::to_string(begin) + " is not found");
    }
  }
  auto* to = reinterpret_cast<T*>(out.data());
  HR_TRY(read_values(opened.file.get(), frames, static_cast<uint32_t>(opened.info.channels), form.channels, to));
  std::fill(to + frames * form.channels, to + form.frames * form.channels, T{0});
  return {};
}

AudioForm form_of(const SF_INFO& info, const AudioOptions& options) {
  return {options.frames != 0 ? options.frames : static_cast<uint64_t>(info.frames),
          options.channels != 0 ? options.channels : static_cast<uint32_t>(info.channels)};
}

}  // namespace

Result<AudioForm> audio_form(Bytes bytes, const AudioOptions& options) {
  HR_TRY_ASSIGN(const Opened opened, open(bytes, options));
  return form_of(opened.info, options);
}

Status decode_audio(Bytes bytes, const AudioOptions& options, Dtype dtype, uint64_t key, MutableBytes out) {
  HR_TRY_ASSIGN(Opened opened, open(bytes, options));
  const AudioForm form = form_of(opened.info, options);
  if (form.frames * form.channels * dtype_size(dtype) != out.size()) {
    return internal_error("decode audio: place of " + std::to_string(out.size()) + " bytes for " +
                          std::to_string(form.frames) + " frames");
  }
  if (dtype == Dtype::kF32) return decode_as<float>(opened, form, options, key, out);
  sf_command(opened.file.get(), SFC_SET_SCALE_FLOAT_INT_READ, nullptr, SF_TRUE);  // a float WAV's 1.0 is 32767
  return decode_as<int16_t>(opened, form, options, key, out);
}

}  // namespace headrace
