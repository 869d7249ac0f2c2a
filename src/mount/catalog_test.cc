// SPDX-License-Identifier: Apache-2.0
//
// The catalog over a store in memory, on a loop of its own.
#include "mount/catalog.h"

#include <gtest/gtest.h>

#include <set>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/test_loop.h"

namespace headrace::mount {
namespace {

struct World {
  TestLoop loop;
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<Budget> budget = Budget::root("test", 64 << 20);
  ThreadPool background{1, "test"};
  MountStats stats;
  CatalogOptions options;
  std::unique_ptr<Catalog> catalog;

  Catalog& open() {
    catalog = std::make_unique<Catalog>(faults, budget, background, stats, options);
    return *catalog;
  }
  ~World() { catalog.reset(); }

  std::set<std::string> names(Ino folder = kRootIno) {
    std::set<std::string> out;
    Result<FolderView> view = catalog->open_folder(folder);
    EXPECT_TRUE(view.ok()) << view.status().message();
    if (!view.ok()) return out;
    for (const Ino ino : view->children) {
      std::string name;
      if (catalog->entry(ino, false, &name).ino != 0) out.insert(name);
    }
    catalog->close_folder(folder);
    return out;
  }
  Ino ino(Ino folder, const std::string& name) {
    Result<Attributes> found = catalog->lookup(folder, name);
    EXPECT_TRUE(found.ok());
    return found.ok() ? found->ino : 0;
  }
};

using Set = std::set<std::string>;

TEST(Catalog, OddKeysMakeTheTreeThatTheDocumentDescribes) {
  World world;
  for (const char* key : {"a", "a/b", "c/", "d//e", "f/./g", ".", "h/i/j", "/k", "l"}) world.memory->set(key, "x");
  world.open();
  EXPECT_EQ(world.names(), (Set{"a", "c", "d", "f", "h", "l"}));
  EXPECT_EQ(world.names(world.ino(kRootIno, "a")), Set{"b"});
  EXPECT_EQ(world.names(world.ino(kRootIno, "d")), Set{});
  EXPECT_EQ(world.stats.hidden_keys.value(), 4u);  // d//e, f/./g, ".", /k
  EXPECT_EQ(world.stats.listings.value(), 1u);     // one page said it all
}

TEST(Catalog, LookupAndListingAgree) {
  World world;
  for (const char* key : {"a", "a/b", "c/", "d//e", "f/./g", "h/i/j", "l", "a-x"}) world.memory->set(key, "x");
  world.options.ttl = std::chrono::hours(1);
  world.options.lookups_before_listing = 1000;
  Catalog& by_lookup = world.open();
  std::map<std::string, bool> looked;
  for (const char* name : {"a", "a-x", "c", "d", "f", "h", "l", "nope", "."}) {
    Result<Attributes> found = by_lookup.lookup(kRootIno, name);
    ASSERT_TRUE(found.ok());
    if (found->ino != 0) looked[name] = found->folder;
  }
  EXPECT_EQ(world.stats.listings.value(), 0u);
  std::map<std::string, bool> listed;
  const FolderView view = *world.catalog->open_folder(kRootIno);
  for (const Ino ino : view.children) {
    std::string name;
    const Attributes entry = world.catalog->entry(ino, false, &name);
    listed[name] = entry.folder;
  }
  EXPECT_EQ(looked, listed);
}

TEST(Catalog, AWalkListsTheTreeInAFewListings) {
  World world;
  for (int folder = 0; folder < 40; ++folder) {
    for (int file = 0; file < 60; ++file) {
      world.memory->set("d" + std::to_string(folder) + "/f" + std::to_string(file), "x");
    }
  }
  world.open();
  size_t files = 0;
  for (const std::string& name : world.names()) files += world.names(world.ino(kRootIno, name)).size();
  EXPECT_EQ(files, 2400u);
  EXPECT_LE(world.stats.listings.value(), 3u);  // the top, the first folder, then everything
}

TEST(Catalog, ATreeThatDoesNotFitIsListedLevelByLevel) {
  World world;
  for (int folder = 0; folder < 40; ++folder) {
    for (int file = 0; file < 60; ++file) {
      world.memory->set("d" + std::to_string(folder) + "/f" + std::to_string(file), "x");
    }
  }
  world.options.metadata_bytes_max = 250 << 10;  // about a thousand names
  world.open();
  size_t files = 0;
  for (const std::string& name : world.names()) files += world.names(world.ino(kRootIno, name)).size();
  EXPECT_EQ(files, 2400u);
  EXPECT_LE(world.budget->used(), 300u << 10);
}

TEST(Catalog, AFolderThatDoesNotFitIsAnErrorThatNamesTheLimit) {
  World world;
  for (int i = 0; i < 5000; ++i) world.memory->set("f" + std::to_string(i), "x");
  world.options.metadata_bytes_max = 200 << 10;
  world.open();
  const Status status = world.catalog->open_folder(kRootIno).status();
  EXPECT_EQ(status.code(), Code::kExhausted);
  EXPECT_NE(status.message().find("metadata_bytes_max=204800"), std::string::npos) << status.message();
}

TEST(Catalog, NamesAndSizesAreAsOldAsTheTtlAllows) {
  World world;
  world.memory->set("f", "old");
  world.options.ttl = std::chrono::hours(1);
  world.open();
  EXPECT_EQ(world.names(), Set{"f"});
  world.memory->set("f", "newer");
  world.memory->set("g", "x");
  EXPECT_EQ(world.names(), Set{"f"});
  EXPECT_EQ(world.catalog->lookup(kRootIno, "f")->size, 3u);
  EXPECT_EQ(world.catalog->lookup(kRootIno, "g")->ino, 0u);
}

TEST(Catalog, WithoutATtlEveryLookupAsks) {
  World world;
  world.memory->set("f", "old");
  world.options.ttl = Nanos{0};
  world.options.lookups_before_listing = 1000;
  world.open();
  const Ino first = world.ino(kRootIno, "f");
  world.memory->set("f", "newer");
  const Attributes second = *world.catalog->lookup(kRootIno, "f");
  EXPECT_EQ(second.size, 5u);
  EXPECT_NE(second.ino, first);
  world.memory->erase("f");
  EXPECT_EQ(world.catalog->lookup(kRootIno, "f")->ino, 0u);
  EXPECT_EQ(world.names(), Set{});
}

TEST(Catalog, AFileThatTakesThePlaceOfAFolderIsFound) {
  for (const bool by_lookup : {true, false}) {
    World world;
    world.memory->set("a/b", "x");
    world.memory->set("c", "x");
    world.options.ttl = Nanos{0};
    world.options.lookups_before_listing = 1000;
    world.open();
    EXPECT_EQ(world.names(), (Set{"a", "c"}));
    const Ino folder = world.ino(kRootIno, "a");
    world.memory->erase("a/b");
    world.memory->set("a", "a file");
    if (!by_lookup) {
      EXPECT_EQ(world.names(), (Set{"a", "c"}));
    }
    const Attributes file = *world.catalog->lookup(kRootIno, "a");
    EXPECT_NE(file.ino, folder);
    EXPECT_FALSE(file.folder);
    EXPECT_EQ(file.size, 6u);
  }
}

TEST(Catalog, ATtlOfInfNeverAsksTwice) {
  World world;
  world.memory->set("f", "x");
  world.options.ttl = Nanos::max();
  world.open();
  EXPECT_EQ(world.names(), Set{"f"});
  EXPECT_EQ(world.catalog->lookup(kRootIno, "f")->valid_for, Nanos::max());
  EXPECT_EQ(world.catalog->lookup(kRootIno, "nope")->valid_for, Nanos::max());
  world.faults->add({.op = StoreOp::kList});
  world.faults->add({.op = StoreOp::kHead});
  EXPECT_EQ(world.names(), Set{"f"});
}

TEST(Catalog, AStaleNameIsAskedForAgain) {
  World world;
  world.memory->set("f", "old");
  world.options.ttl = Nanos::max();
  world.open();
  EXPECT_EQ(world.names(), Set{"f"});
  const Ino old = world.ino(kRootIno, "f");
  world.memory->set("f", "newer");
  world.catalog->mark_stale(old);
  EXPECT_NE(world.ino(kRootIno, "f"), old);
  EXPECT_EQ(world.catalog->attributes(old)->size, 3u);  // who has it open still sees the old version
}

TEST(Catalog, SeveralLookupsOfAFolderListIt) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set("f" + std::to_string(i), "x");
  world.open();
  for (int i = 0; i < 3; ++i) world.ino(kRootIno, "f" + std::to_string(i));
  for (int i = 0; i < 1000 && world.stats.listings.value() == 0; ++i) std::this_thread::yield();
  world.names();  // waits for it
  EXPECT_EQ(world.stats.listings.value(), 1u);
  const uint64_t asked = world.stats.lookups_asked.value();
  for (int i = 3; i < 100; ++i) EXPECT_NE(world.ino(kRootIno, "f" + std::to_string(i)), 0u);
  EXPECT_EQ(world.stats.lookups_asked.value(), asked);
}

TEST(Catalog, FailuresOfTheStoreAreToldAndNotRemembered) {
  World world;
  world.memory->set("f", "x");
  world.open();
  world.faults->add({.op = StoreOp::kList, .status = permission_denied("no"), .retryable = false});
  EXPECT_EQ(world.catalog->lookup(kRootIno, "f").status().code(), Code::kPermission);
  EXPECT_EQ(world.catalog->open_folder(kRootIno).status().code(), Code::kPermission);
  EXPECT_EQ(world.catalog->check().code(), Code::kPermission);
  world.faults->clear();
  EXPECT_EQ(world.names(), Set{"f"});
}

TEST(Catalog, APrefixWithoutObjectsIsNotMounted) {
  World world;
  world.options.prefix = "nothing/";
  world.memory->set("something", "x");
  EXPECT_EQ(world.open().check().code(), Code::kNotFound);
}

TEST(Catalog, UnknownInodesAreStaleNotACrash) {
  World world;
  world.open();
  for (const Ino ino : {Ino{0}, Ino{77}, Ino{1} << 40 | 1, ~Ino{0}}) {
    EXPECT_EQ(world.catalog->attributes(ino).status().code(), Code::kPrecondition);
    EXPECT_EQ(world.catalog->lookup(ino, "x").status().code(), Code::kPrecondition);
    EXPECT_EQ(world.catalog->open_folder(ino).status().code(), Code::kPrecondition);
    world.catalog->forget(ino, 3);
  }
}

TEST(Catalog, ResolveWalksAPath) {
  World world;
  world.memory->set("p/a/b/c", "four");
  world.options.prefix = "p/";
  world.open();
  EXPECT_EQ(world.catalog->resolve("a/b/c")->size, 4u);
  EXPECT_EQ(world.catalog->resolve("a//b/./c")->size, 4u);
  EXPECT_EQ(world.catalog->resolve("a/x").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace headrace::mount
