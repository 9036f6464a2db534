use super::*;

fn open(folder: &Path, applied: u64) -> (Journal, Vec<u64>) {
    let (journal, replay) = Journal::open(folder, applied).unwrap();
    for record in &replay {
        assert_eq!(record.payload, payload(record.sequence), "a batch came back changed");
    }
    (journal, replay.into_iter().map(|r| r.sequence).collect())
}

fn payload(sequence: u64) -> Vec<u8> {
    sequence.to_le_bytes().repeat(64 * 1024)
}

fn append(journal: &mut Journal) -> u64 {
    let next = journal.last() + 1;
    journal.append(|out| out.extend(payload(next))).unwrap()
}

#[test]
fn what_was_appended_is_replayed_across_slots_and_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, replay) = open(folder.path(), 0);
    assert!(replay.is_empty());
    // Half a MiB each: several slots.
    for n in 1..=40 {
        assert_eq!(append(&mut journal), n);
    }
    drop(journal);
    let (mut journal, replay) = open(folder.path(), 0);
    assert_eq!(replay, (1..=40).collect::<Vec<_>>());
    assert_eq!(append(&mut journal), 41);
    drop(journal);
    assert_eq!(open(folder.path(), 30).1, (31..=41).collect::<Vec<_>>());
}

#[test]
fn released_slots_are_written_over_and_their_past_is_not_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 0);
    for _ in 0..200 {
        let n = append(&mut journal);
        journal.slots().release(n).unwrap();
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= SPARE + 3, "slots are used again");
    drop(journal);
    assert!(open(folder.path(), 200).1.is_empty());
    let Err(gap) = Journal::open(folder.path(), 5) else { panic!("a gap is stepped over") };
    assert_eq!(gap.to_string(), "journal batch 6 is missing, though later ones are there");
}

#[test]
fn a_record_made_up_in_a_payload_never_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 0);
    // What the sender of a body can know: everything but the random number that the slot's life begins with.
    let fixed = fixed_part(2, 4);
    let mut forged = fixed.to_vec();
    forged.extend_from_slice(&checksum(0, &fixed, b"evil").to_le_bytes());
    forged.extend_from_slice(b"evil");
    journal.append(|out| out.extend([&payload(1)[..], &forged].concat())).unwrap();
    // A torn second record where the first one's life ends is the forged one, for whoever reads on from there.
    let at = journal.at;
    journal.current.file.write_all_at(&forged, at).unwrap();
    drop(journal);
    let (_, replay) = Journal::open(folder.path(), 0).unwrap();
    assert_eq!(replay.iter().map(|r| r.sequence).collect::<Vec<_>>(), [1]);
}

#[test]
fn records_of_a_slots_life_before_are_not_taken_for_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 0);
    (0..3).for_each(|_| assert_ne!(append(&mut journal), 0));
    // As if only the first batch had been appended: the others follow it still, with the right numbers.
    journal.next = 1;
    journal.start_over().unwrap();
    append(&mut journal);
    drop(journal);
    assert_eq!(open(folder.path(), 0).1, [1]);
}

#[test]
fn where_no_other_slot_can_be_had_the_same_one_is_used_again() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, moved) = (parent.path().join("journal"), parent.path().join("moved"));
    let (mut journal, _) = open(&folder, 0);
    // No slot can be made in a folder that is not there.
    std::fs::rename(&folder, &moved).unwrap();
    let mut appended = 0;
    let error = loop {
        match journal.append(|out| out.extend(payload(appended + 1))) {
            Ok(sequence) => appended = sequence,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::NoSlot(_)), "{error:?}");
    assert_eq!(open(&moved, 0).1, (1..=appended).collect::<Vec<_>>(), "nothing is lost by it");
    journal.start_over().unwrap();
    assert_eq!(append(&mut journal), appended + 1);
    drop(journal);
    assert_eq!(open(&moved, appended).1, [appended + 1]);
}

#[test]
fn a_restart_goes_on_in_the_same_slot() {
    let folder = tempfile::tempdir().unwrap();
    for n in 1..=10 {
        let (mut journal, replay) = open(folder.path(), 0);
        assert_eq!(replay, (1..n).collect::<Vec<_>>());
        assert_eq!(append(&mut journal), n);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a full disk lets no other be made");
}

#[test]
fn a_torn_record_ends_the_replay() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 0);
    for _ in 0..3 {
        append(&mut journal);
    }
    let at = journal.at - 1;
    journal.current.file.write_all_at(&[0xff], at).unwrap();
    drop(journal);
    let (mut journal, replay) = open(folder.path(), 0);
    assert_eq!(replay, [1, 2]);
    assert_eq!(append(&mut journal), 3, "the torn one's number is given again");
    drop(journal);
    assert_eq!(open(folder.path(), 0).1, [1, 2, 3]);
}

#[test]
fn rubbish_in_the_folder_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("00000007.journal"), b"WPJRNL1\nshort").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"hello").unwrap();
    let (mut journal, replay) = open(folder.path(), 0);
    assert!(replay.is_empty());
    append(&mut journal);
    drop(journal);
    assert_eq!(open(folder.path(), 0).1, [1]);
}
