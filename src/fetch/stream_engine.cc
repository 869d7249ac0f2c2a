// SPDX-License-Identifier: Apache-2.0
//
// The engine's life: pump() after every event (grant, arrival, decoded samples, release) reads, decodes and hands over
// as far as it can. Reading is stream_engine_read.cc.
#include "fetch/stream_engine.h"

#include <algorithm>
#include <future>
#include <string>

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Epochs in which a stream found no sample, one after another, until that is an error: with many shards of which a few
// hold samples a stream may miss them for some epochs.
constexpr uint64_t kEmptyEpochsMax = 64;

// Takes no buffer that would leave less than `headroom` free, which the assembling of batches needs: slots cannot be
// given back.
class FrugalSource final : public BufferSource {
 public:
  FrugalSource(std::shared_ptr<BufferSource> inner, std::shared_ptr<Budget> budget, uint64_t headroom)
      : inner_(std::move(inner)), budget_(std::move(budget)), headroom_(headroom) {}
  Buffer take(uint64_t size) override {
    if (budget_->used() + headroom_ + inner_->charge(size) > budget_->bytes_max()) return {};
    return inner_->take(size);
  }
  uint64_t charge(uint64_t size) const override { return inner_->charge(size); }

 protected:
  void give_back(const Buffer&) override {}  // they are the inner one's

 private:
  const std::shared_ptr<BufferSource> inner_;
  const std::shared_ptr<Budget> budget_;
  const uint64_t headroom_;
};

// (a - b) mod m
uint64_t behind(uint64_t a, uint64_t b, uint64_t m) { return (a % m + m - b % m) % m; }

}  // namespace

Result<std::shared_ptr<StreamEngine>> StreamEngine::make(FetchDeps deps, StreamJob job, StreamFetchOptions options,
                                                         std::shared_ptr<FetchSink> sink) {
  HR_TRY(check_stream_spec(job.spec, job.world));
  if (job.rank >= job.world || job.batch == 0) {
    return invalid_argument("stream order: rank " + number(job.rank) + " of " + number(job.world) + ", batch of " +
                            number(job.batch));
  }
  if (job.end != StreamEnd::kWrap && job.world != 1) {
    return invalid_argument("stream order: an epoch over " + number(job.world) +
                            " ranks has no common end while the number of samples is unknown: give "
                            "epoch_size=, the streams then go on with their next epoch");
  }
  std::shared_ptr<StreamEngine> engine(
      new StreamEngine(std::move(deps), std::move(job), std::move(options), std::move(sink)));
  HR_TRY(engine->build());
  return engine;
}

StreamEngine::StreamEngine(FetchDeps deps, StreamJob job, StreamFetchOptions options, std::shared_ptr<FetchSink> sink)
    : deps_(std::move(deps)),
      source_(deps_.sources[0]),
      job_(std::move(job)),
      options_(std::move(options)),
      sink_(std::move(sink)),
      executor_(source_.store->executor()),
      spare_(options_.spare_bytes == 0
                 ? nullptr
                 : std::make_shared<const SpareMemory>(SpareMemory{
                       deps_.buffers, deps_.budget,
                       std::make_shared<const std::atomic<uint64_t>>(options_.headroom_bytes), deps_.workers, gate_})),
      epochs_left_(job_.epochs) {}

StreamEngine::~StreamEngine() {
  HR_ASSERT(closed_ || listener_ == 0);
  deps_.budget->release(charged_);
}

Status StreamEngine::build() {
  const uint64_t mine = job_.spec.streams / job_.world;
  if (job_.cuts.empty()) {
    for (uint64_t k = 0; k < mine; ++k) job_.cuts.push_back({stream_start(job_.rank + k * job_.world, job_.epoch), {}});
  }
  if (job_.cuts.size() != mine) {
    return precondition_failed("resume: the state holds " + number(job_.cuts.size()) + " streams for this rank of " +
                               number(job_.world) + ", needed are " + number(mine) +
                               "; join the states of all ranks with gather_state()");
  }
  auto source = std::make_shared<StreamInput>();
  source->spec = job_.spec;
  source->index = source_.index;
  source->name_prefix = source_.store->name() + "/" + source_.key_prefix;
  source->buffers = std::make_shared<FrugalSource>(deps_.buffers, deps_.budget, options_.headroom_bytes);
  source->cutter = source_.cutter;
  source->shard_format = source_.shard_format;
  source->decoder = options_.decoder;
  source->sample_bytes_max = options_.sample_bytes_max;
  source->chunk_bytes = options_.chunk_bytes;
  source->find_index = options_.on_indexed != nullptr;
  if (job_.end != StreamEnd::kWrap) source->epoch_end = job_.epoch + job_.epochs;
  input_ = source;
  for (uint64_t k = 0; k < mine; ++k) {
    const StreamCut& cut = job_.cuts[k];
    if (cut.mark.stream != job_.rank + k * job_.world) {
      return precondition_failed("resume: the state has stream " + number(cut.mark.stream) + " where stream " +
                                 number(job_.rank + k * job_.world) + " is needed");
    }
    HR_TRY_ASSIGN(StreamShuffle shuffle, StreamShuffle::make(job_.spec, cut));
    auto reader = std::make_unique<StreamReader>(source, cut, shuffle.skips());
    streams_.push_back(std::make_unique<Stream>(std::move(shuffle), std::move(reader)));
  }
  const uint64_t decoders = mine * options_.decoder_bytes;
  if (!deps_.budget->reserve(decoders)) {
    return exhausted("read " + number(mine) + " streams: decompressing takes " + number(decoders) + " bytes, " +
                     deps_.budget->name() + " has " + number(deps_.budget->bytes_max()) + "; raise memory=");
  }
  charged_ = decoders;
  row_position_ = job_.position + behind(job_.rank, job_.position, job_.world);
  if (job_.turn >= job_.spec.streams) return precondition_failed("resume: turn " + number(job_.turn) + " of the state");
  turns_ = StreamTurns(job_.spec.streams, job_.turn);
  return {};
}

void StreamEngine::start() {
  std::weak_ptr<StreamEngine> weak = weak_from_this();
  listener_ = deps_.budget->subscribe({[weak] {
                                         if (auto self = weak.lock()) self->post_pump();
                                       },
                                       [weak](uint64_t bytes) {
                                         if (auto self = weak.lock()) self->give_back(bytes);
                                       }});
  post_pump();
}

void StreamEngine::allow(uint32_t batches) {
  executor_.post([self = shared_from_this(), batches] {
    self->credits_ += batches;
    self->pump();
  });
}

void StreamEngine::batch_gone() {
  executor_.post([self = shared_from_this()] {
    --self->downstream_;
    self->pump();
  });
}

void StreamEngine::post_pump() {
  if (closed_ || pump_posted_.exchange(true)) return;
  executor_.post([self = shared_from_this()] {
    self->pump_posted_ = false;
    self->pump();
  });
}

void StreamEngine::pump() {
  if (closed_ || ended_) return;
  blocked_ = false;
  emit();
  if (ended_) return;
  start_work();
  read_ahead();
  check_stuck();
  update_state();
}

void StreamEngine::emit() {
  while (!ended_) {
    const bool last_waits = !held_back_.rows.empty() && held_back_.after.at.position == 0;
    const bool over = job_.end != StreamEnd::kWrap && epochs_left_ == 0;
    if ((over && !last_waits) || (job_.batches_max != 0 && next_number_ == job_.batches_max)) return end({});
    if (credits_ == 0) return;
    if (last_waits) {
      batch_ = std::exchange(held_back_, {});
    } else {
      if (!fill_batch()) return;
      if (job_.end == StreamEnd::kDrop) hold_back();
      if (batch_.rows.empty()) continue;
    }
    --credits_;
    ++downstream_;
    batch_.number = next_number_++;
    sink_->on_batch(std::exchange(batch_, {}));
  }
}

// Under kDrop a batch waits until it is known whether another whole one follows in its epoch: if not, the state after
// it is the next epoch's start.
void StreamEngine::hold_back() {
  if (!batch_.rows.empty()) return std::swap(batch_, held_back_);
  if (held_back_.rows.empty()) {
    return end(invalid_argument("iterate: what is left of the epoch is less than a batch of " + number(job_.batch) +
                                " samples, and remainder=\"drop\" leaves it out; use a smaller batch or \"short\""));
  }
  held_back_.after.at = {job_.epoch, 0, 0};
  held_back_.after.streams = snapshot();
}

std::shared_ptr<const StreamSnapshot> StreamEngine::snapshot() const {
  auto out = std::make_shared<StreamSnapshot>();
  out->cuts.reserve(streams_.size());
  for (const auto& stream : streams_) out->cuts.push_back(stream->shuffle.cut());
  if (job_.end != StreamEnd::kWrap) out->turn = turns_.turn();
  return out;
}

// True: batch_ is complete, or empty because its epoch is over. False: rows are missing, or the pass has ended.
bool StreamEngine::fill_batch() {
  if (job_.end == StreamEnd::kWrap) {
    while (batch_.rows.size() < job_.batch) {
      if (!take_row(stream_of(row_position_ % job_.spec.streams), row_position_)) return false;
      row_position_ += job_.world;
    }
    return finish_batch();
  }
  while (batch_.rows.size() < job_.batch) {
    while (!turns_.over() && stream_of(turns_.turn()).shuffle.epoch() > job_.epoch) turns_.end(turns_.turn());
    if (turns_.over()) break;
    if (!take_row(stream_of(turns_.turn()), job_.position)) return false;
    turns_.advance();
    ++job_.position;
  }
  return end_of_epoch() && finish_batch();
}

bool StreamEngine::take_row(Stream& stream, uint64_t position) {
  if (stream.doubted) return false;
  if (!stream.shuffle.ready()) {
    if (stream.shuffle.empty_epochs() >= kEmptyEpochsMax) end(nothing_found());
    return false;
  }
  StreamShuffle::Taken taken = stream.shuffle.take();
  std::shared_ptr<Piece> piece = std::move(taken.sample.piece);
  HR_ASSERT(piece != nullptr);
  const uint64_t id = stream_sample_id(piece->shard, taken.sample.row);
  batch_.rows.push_back({piece.get(), 0, id, taken.epoch, position, true, 0});
  batch_.pieces.push_back(std::move(piece));
  return true;
}

Status StreamEngine::nothing_found() const {
  return corrupt("read " + source_.store->name() + "/" + source_.key_prefix +
                 ": no sample in all that was read of the shards: do they hold WebDataset samples (KEY.EXTENSION)?");
}

// Where epochs end with their streams: false while it is not known whether this batch is the last; else deals with it.
bool StreamEngine::end_of_epoch() {
  for (uint64_t s = 0; s < job_.spec.streams && !turns_.over(); ++s) {
    const StreamShuffle& shuffle = stream_of(s).shuffle;
    if (shuffle.epoch() > job_.epoch) {
      turns_.end(s);
    } else if (!shuffle.has_sample()) {
      return false;
    }
  }
  if (!turns_.over()) return true;
  const uint64_t rows = batch_.rows.size();
  if (rows < job_.batch && job_.end == StreamEnd::kDrop) batch_ = {};
  if (rows > 0 && job_.end == StreamEnd::kPad) {
    for (uint64_t k = rows; k < job_.batch; ++k) {
      FetchedRow again = batch_.rows[k % rows];
      again.valid = false;
      batch_.rows.push_back(std::move(again));
    }
  }
  if (rows == 0 && job_.position == 0) {
    end(nothing_found());
    return false;
  }
  ++job_.epoch;
  job_.position = 0;
  turns_ = StreamTurns(job_.spec.streams);
  --epochs_left_;
  return true;
}

bool StreamEngine::finish_batch() {
  if (batch_.rows.empty()) return true;
  if (job_.end == StreamEnd::kWrap) {
    batch_.after.begin = {0, job_.position, 0};
    job_.position += job_.batch * job_.world;
  } else {
    batch_.after.begin = {batch_.rows[0].epoch, batch_.rows[0].position, 0};
  }
  batch_.after.at = {job_.epoch, job_.position, 0};
  batch_.after.streams = snapshot();
  return true;
}

void StreamEngine::end(Status status) {
  if (ended_) return;
  ended_ = true;
  if (!status.ok()) stop_.request_stop();
  forget();
  metrics_.state = FetchState::kIdle;
  sink_->on_end(std::move(status));
}

// A stream that a worker is busy with keeps its reader until that is done.
void StreamEngine::forget() {
  batch_ = held_back_ = {};
  if (working_ == 0 && in_flight_ == 0) streams_.clear();
}

void StreamEngine::update_state() {
  FetchState state = FetchState::kIdle;
  if (credits_ > 0) state = blocked_ ? FetchState::kMemory : working_ > 0 ? FetchState::kDecode : FetchState::kNetwork;
  metrics_.state.store(state, std::memory_order_relaxed);
}

void StreamEngine::close() {
  if (closed_.exchange(true)) return;
  stop_.request_stop();
  if (listener_ != 0) deps_.budget->unsubscribe(listener_);
  gate_->close();
  auto done = std::make_shared<std::promise<void>>();  // as FetchEngine::close()
  executor_.post([this, done] {
    ended_ = true;
    forget();
    done->set_value();
  });
  done->get_future().wait();
}

}  // namespace headrace
