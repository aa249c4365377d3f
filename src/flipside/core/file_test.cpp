#include "flipside/core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>

#include "flipside/core/error.h"
#include "support/temp_folder.h"

namespace flipside::file_test {
namespace {

using ::testing::HasSubstr;

int files_in(const fs::path& folder) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder)) count += entry.is_regular_file();
  return count;
}

TEST(PlainPath, HasNoSlashAtItsEnd) {
  for (const char* given : {"runs/first", "runs/first/", "runs/./first//", "runs/other/../first"})
    EXPECT_EQ(plain_path(given), "runs/first") << given;
  EXPECT_EQ(plain_path("/"), "/");
}

TEST(ReadFile, GivesEveryByteAndRefusesFolders) {
  const TempFolder folder;
  std::string bytes(200'001, 'x');  // more than is read at once
  bytes[70'000] = '\0';
  atomic_write(folder / "a", bytes);
  EXPECT_EQ(read_file(folder / "a"), bytes);
  atomic_write(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "empty"), "");
  EXPECT_THAT(message_of(ErrorCode::kIo, [&] { read_file(folder / "."); }),
              HasSubstr("could not be read"));
  EXPECT_THAT(message_of(ErrorCode::kIo, [&] { read_file(folder / "none"); }),
              HasSubstr("could not be opened"));
}

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  const TempFolder folder;
  const fs::path path = folder / "deep/er/a.txt";
  for (const Durability durability : {Durability::kSynced, Durability::kQuick}) {
    fs::remove(path);
    {
      AtomicFile file(path, durability);
      file.write("one ");
      EXPECT_FALSE(fs::exists(path));
      file.write("two");
      file.commit();
      EXPECT_EQ(read_file(path), "one two");
    }
    {
      AtomicFile abandoned(path, durability);
      abandoned.write("half");
    }
    EXPECT_EQ(read_file(path), "one two");
    EXPECT_EQ(files_in(path.parent_path()), 1) << "a temporary file is left";
  }
}

TEST(AtomicFile, SaysWhatIsInTheWay) {
  const TempFolder folder;
  folder.write("file", "x");
  EXPECT_NE(message_of(ErrorCode::kIo, [&] { AtomicFile file(folder / "file/below"); }), "");
  fs::create_directory(folder / "folder");
  EXPECT_NE(
      message_of(ErrorCode::kIo, [&] { atomic_write(folder / "folder", "x", Durability::kQuick); }),
      "");
  EXPECT_EQ(files_in(folder.path()), 1);
}

TEST(FolderLock, KeepsOthersOutWhileItLives) {
  const TempFolder folder;
  {
    const FolderLock lock(folder / "");
    EXPECT_THAT(message_of(ErrorCode::kUsage, [&] { FolderLock second(folder / ""); }),
                testing::HasSubstr("another process"));
  }
  EXPECT_NO_THROW(FolderLock(folder / ""));
  EXPECT_NE(message_of(ErrorCode::kIo, [&] { FolderLock none(folder / "none"); }), "");
}

TEST(FolderLock, IsWaitedForUntilItIsGone) {
  const TempFolder folder;
  std::atomic<bool> released = false;
  auto lock = std::make_unique<FolderLock>(folder / "");
  auto waiter = std::async(std::launch::async, [&] {
    const FolderLock mine(folder / "", FolderLock::WhenHeld::kWait);
    return released.load();
  });
  // Whoever does not wait is back by now.
  EXPECT_EQ(waiter.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  released = true;
  lock.reset();
  EXPECT_TRUE(waiter.get());
  EXPECT_NO_THROW(FolderLock(folder / ""));  // it is free again
  const auto when_held = FolderLock::WhenHeld::kWait;
  EXPECT_NE(message_of(ErrorCode::kIo, [&] { FolderLock none(folder / "none", when_held); }), "");
}

}  // namespace
}  // namespace flipside::file_test
