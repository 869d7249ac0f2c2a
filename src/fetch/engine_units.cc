// SPDX-License-Identifier: Apache-2.0
//
// Units in the engine: a part that is several reads into one buffer, decoded as a whole on the source's own executor.
// Memory is taken before the reads are sent: the buffer, and what the columns will hold; the buffer goes when they are
// there (or stays, where they lie in it), and the share becomes what they really hold.
#include "fetch/engine.h"
#include "format/dataset_index.h"

namespace headrace {

uint64_t FetchEngine::run_charge(uint32_t source, const RowRun& run) const {
  const FetchSource& from = deps_.sources[source];
  if (!run.unit) return from.index->range_of_rows(run.shard, run.row_begin, run.row_end).size();
  const UnitSource::Need need = from.units->need(*run.unit);
  return deps_.buffers->charge(need.buffer_bytes) + need.decoded_bytes;
}

std::shared_ptr<Part> FetchEngine::take_unit(Segment& segment, const RowRun& run) {
  const FetchSource& source = deps_.sources[segment.source];
  UnitSource::Need need = source.units->need(*run.unit);
  auto piece = std::make_shared<Piece>();
  piece->buffer = deps_.buffers->take(need.buffer_bytes);
  if (!piece->buffer || !piece->decoded.take(deps_.budget, need.decoded_bytes)) return nullptr;
  piece->shard = run.shard;
  piece->row_begin = run.row_begin;
  piece->row_end = run.row_end;
  piece->source = deps_.buffers;
  piece->read_bytes = need.read_bytes;
  auto part = std::make_shared<Part>();
  const bool keeps = source.keep_units != KeepUnits::kNo;
  part->segment = keeps ? &keeper_ : &segment;
  part->source = segment.source;
  part->shard = run.shard;
  part->row_begin = run.row_begin;
  part->row_end = run.row_end;
  part->sample_first = source.units->counts().first(*run.unit);
  part->range = source.units->place(*run.unit).range;
  part->unit = run.unit;
  part->reads = std::move(need.reads);
  part->bytes = need.read_bytes;
  part->pieces.push_back(std::move(piece));
  if (keeps) keep(part);
  return part;
}

// All reads of the unit at once: they are one request to the gate and to the count of requests in flight.
void FetchEngine::send_unit(std::shared_ptr<Part> part) {
  if (!gate_->enter()) return;
  const FetchSource& source = deps_.sources[part->source];
  const ShardEntry& shard = source.index->shards()[part->shard];
  part->sent = true;
  part->sent_at = executor_.clock().now();
  part->failure = {};
  part->reads_left = part->reads.size();
  ++in_flight_;
  bytes_in_flight_ += part->bytes;
  metrics_.in_flight = in_flight_;
  if (in_flight_ > metrics_.in_flight_max) metrics_.in_flight_max = in_flight_;
  metrics_.parts.add(part->reads.size());
  metrics_.bytes.add(part->bytes);
  const MutableBytes buffer = part->pieces[0]->buffer.bytes();
  for (const UnitRead& read : part->reads) {
    ReadRequest request;
    request.key = source.key_prefix + shard.key;
    request.range = read.range;
    request.object_size = shard.size;
    if (source.pin_versions) {
      request.if_match = shard.etag;
      request.version_id = shard.version_id;
    }
    request.dst = {buffer.subspan(read.at, read.range.size())};
    request.fresh = part->rereads > 0;
    request.lane = lane();
    if (spare_ && !source.lender) request.spare = std::make_shared<RangeSpare>(spare_);
    request.due = part->due;
    source.store->read(
        std::move(request),
        [self = shared_from_this(), part](ReadOutcome outcome) mutable {
          FetchEngine& engine = *self;
          engine.executor_.post([self = std::move(self), part = std::move(part), outcome = std::move(outcome)] {
            self->on_unit_read(part, outcome.status);
          });
        },
        stop_.get_token());
  }
  if (part->reads.empty()) decode_unit(part);  // columns that this file does not have
}

void FetchEngine::on_unit_read(const std::shared_ptr<Part>& part, Status status) {
  if (part->failure.ok()) part->failure = std::move(status);
  if (--part->reads_left > 0) return;
  if (part->failure.ok()) {
    const TimePoint now = executor_.clock().now();
    ahead_.on_read(now, now - part->sent_at, part->bytes);
  }
  if (!part->failure.ok() || part->segment == nullptr || closed_ || ended_) {
    on_verified(part, part->failure);
    return;
  }
  decode_unit(part);
}

void FetchEngine::decode_unit(const std::shared_ptr<Part>& part) {
  const std::shared_ptr<const UnitSource>& units = deps_.sources[part->source].units;
  units->executor().post([self = shared_from_this(), part, units] {
    Result<std::shared_ptr<const UnitRows>> rows = units->decode(*part->unit, part->pieces[0]->buffer.bytes());
    FetchEngine& engine = *self;
    engine.executor_.post([self = std::move(self), part = std::move(part), rows = std::move(rows)]() mutable {
      self->on_decoded(part, std::move(rows));
    });
  });
}

void FetchEngine::on_decoded(const std::shared_ptr<Part>& part, Result<std::shared_ptr<const UnitRows>> rows) {
  Status status = rows.status();
  if (part->pieces.empty()) {
    on_verified(part, status);
    return;
  }
  Piece& piece = *part->pieces[0];
  if (rows.ok()) {
    piece.rows = *std::move(rows);
    piece.decoded.resize(piece.rows->bytes());
  } else if (status.code() == Code::kCorrupt) {
    const std::string where = deps_.sources[part->source].index->shards()[part->shard].key;
    status = status.with_context("decode rows " + std::to_string(part->row_begin) + " to " +
                                 std::to_string(part->row_end - 1) + " of " + where + " bytes " + part->range.text());
    if (part->rereads == options_.rereads_max) {  // damaged where it lies: the policy for bad samples decides
      piece.status = std::move(status);
      status = {};
      piece.decoded.resize(0);
    }
  }
  if (status.ok()) {
    piece.read_bytes = part->bytes;
    if (piece.rows == nullptr || !piece.rows->in_place()) piece.buffer = {};
  }
  on_verified(part, std::move(status));
}

}  // namespace headrace
