//! What a file is, by its first octets, whatever its name and type say. Pure.

use serde::Deserialize;

/// What the first octets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    WindowsProgram,
    ElfProgram,
    MachOProgram,
    JavaClass,
    Script,
    WindowsShortcut,
    WindowsHelp,
    Ole,
    OfficeMacros,
    Zip,
    Rar,
    SevenZip,
    Cabinet,
    DiskImage,
}

impl Kind {
    /// Those that run.
    pub(crate) const PROGRAMS: [Self; 7] = [
        Self::WindowsProgram,
        Self::ElfProgram,
        Self::MachOProgram,
        Self::JavaClass,
        Self::Script,
        Self::WindowsShortcut,
        Self::WindowsHelp,
    ];

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::WindowsProgram => "a Windows program",
            Self::ElfProgram => "an ELF program",
            Self::MachOProgram => "a Mach-O program",
            Self::JavaClass => "a Java class",
            Self::Script => "a script",
            Self::WindowsShortcut => "a Windows shortcut",
            Self::WindowsHelp => "a Windows help file",
            Self::Ole => "an OLE document",
            Self::OfficeMacros => "an Office document with macros",
            Self::Zip => "a zip archive",
            Self::Rar => "a RAR archive",
            Self::SevenZip => "a 7z archive",
            Self::Cabinet => "a cabinet archive",
            Self::DiskImage => "a disk image",
        }
    }

    /// What these octets are, if they are anything that is known here.
    pub(crate) fn of(octets: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Kind); 15] = [
            (b"\x7fELF", Kind::ElfProgram),
            (b"\xfe\xed\xfa\xce", Kind::MachOProgram),
            (b"\xfe\xed\xfa\xcf", Kind::MachOProgram),
            (b"\xce\xfa\xed\xfe", Kind::MachOProgram),
            (b"\xcf\xfa\xed\xfe", Kind::MachOProgram),
            (b"L\0\0\0\x01\x14\x02\0", Kind::WindowsShortcut),
            (b"ITSF", Kind::WindowsHelp),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Ole),
            (b"PK\x03\x04", Kind::Zip),
            (b"PK\x05\x06", Kind::Zip),
            (b"PK\x07\x08", Kind::Zip),
            (b"Rar!\x1a\x07", Kind::Rar),
            (b"7z\xbc\xaf\x27\x1c", Kind::SevenZip),
            (b"MSCF\0\0\0\0", Kind::Cabinet),
            (b"vhdxfile", Kind::DiskImage),
        ];
        if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| octets.starts_with(magic)) {
            return Some(*kind);
        }
        if octets.starts_with(b"\xca\xfe\xba\xbe") {
            // A class's version, from 45 on; a fat program's count of architectures, which is small.
            let version =
                octets.get(6..8).map(|v| u16::from_be_bytes([*v.first().unwrap_or(&0), *v.last().unwrap_or(&0)]));
            return Some(if version.is_some_and(|v| v >= 45) { Self::JavaClass } else { Self::MachOProgram });
        }
        if octets.starts_with(b"MZ") && is_program(octets) {
            return Some(Self::WindowsProgram);
        }
        let line = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
        if let Some(rest) = line.strip_prefix(b"#!")
            && rest.trim_ascii_start().starts_with(b"/")
        {
            return Some(Self::Script);
        }
        // ISO 9660: its first descriptor is in sector 16.
        (octets.get(0x8001..0x8006) == Some(b"CD001")).then_some(Self::DiskImage)
    }
}

/// A text can begin with MZ too. A program has octets in its head that no text has.
fn is_program(octets: &[u8]) -> bool {
    octets.get(2..64).is_some_and(|head| head.contains(&0)) || octets.len() < 64 && octets.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_octets_tell() {
        let program = [&b"MZ\x90\0\x03"[..], &[0; 80]].concat();
        let mut image = vec![0; 0x8001];
        image.extend(b"CD001");
        for (octets, expected) in [
            (&program[..], Some(Kind::WindowsProgram)),
            (b"MZ is how Mark Zbikowski signed, and this sentence is long enough for a head", None),
            (b"MZ", None),
            (b"\x7fELF\x02\x01", Some(Kind::ElfProgram)),
            (b"\xca\xfe\xba\xbe\0\0\0\x34", Some(Kind::JavaClass)),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", Some(Kind::MachOProgram)),
            (b"\xca\xfe\xba\xbe", Some(Kind::MachOProgram)),
            (b"\xcf\xfa\xed\xfe\x07", Some(Kind::MachOProgram)),
            (b"#!/bin/sh\n", Some(Kind::Script)),
            (b"#! /usr/bin/env python3\n", Some(Kind::Script)),
            (b"#!? what", None),
            (b"L\0\0\0\x01\x14\x02\0\0\0", Some(Kind::WindowsShortcut)),
            (b"PK\x03\x04\x14", Some(Kind::Zip)),
            (b"Rar!\x1a\x07\0", Some(Kind::Rar)),
            (&image, Some(Kind::DiskImage)),
            (b"%PDF-1.7", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(octets), expected, "{:?}", &octets[..octets.len().min(16)]);
        }
    }
}
