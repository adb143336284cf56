"""The contrast is read off the name of the acquisition."""

import pytest

from lightning_mri.io.contrasts import ACQUISITIONS, acquisition_of, contrast_of


@pytest.mark.parametrize(
    ("acquisition", "contrast"),
    [
        ("AXT1", "T1w"),
        ("AXT1PRE", "T1w"),
        ("AXT1POST", "T1w-post"),
        ("AXT2", "T2w"),
        ("AXFLAIR", "FLAIR"),
        ("t2_flair_tra", "FLAIR"),
        ("t1 flair", "T1w"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("t2_tse_dark-fluid_tra", "FLAIR"),
        ("t2_space_dark-fluid_sag_p2_iso", "FLAIR"),
        ("t2_spc_da-fl_sag_p2_iso", "FLAIR"),
        ("T2_DarkFluid", "FLAIR"),
        ("t1_tirm_tra_dark-fluid", "T1w"),
        ("t2_swi3d_tra_p2", "SWI"),
        ("t2_me2d_tra", "T2*w"),
        ("t2_medic2d", "T2*w"),
        ("t2_flash_tra", "T2*w"),
        ("CORPD_FBK", "PD"),
        ("CORPDFS_FBK", "PDFS"),
        ("t2_swi_tra_p2", "SWI"),
        ("SWAN 3D", "SWI"),
        ("ep2d_diff_b1000_TRACEW", "DWI"),
        ("DWI ASSET", "DWI"),
        ("WIP DTI", "DWI"),
        ("WIP_T1W_3D_TFE", "T1w"),
        ("sT2W_TSE", "T2w"),
        ("T1 POST", "T1w-post"),
        ("t1_mpr_posterior", "T1w"),
        ("PD_TSE_FS", "PDFS"),
        ("FLAIR3D", "FLAIR"),
        ("ep2d_difficult", None),
        ("SPDIF", None),
        ("T2*", "T2*w"),
        ("T2*_GRE", "T2*w"),
        ("ax T2* GRE 3mm", "T2*w"),
        ("AXT2*W", "T2*w"),
        ("T2STAR", "T2*w"),
        ("t2_star_me3d", "T2*w"),
        ("T2W_FFE", "T2*w"),
        ("sT2FFE", "T2*w"),
        ("t2_fl2d_tra_hemo", "T2*w"),
        ("t2_tse_tra", "T2w"),
        ("t1_fl2d_tra", "T1w"),
        ("R2*", None),
        ("RPDA", None),
        ("localizer", None),
        ("", None),
    ],
)
def test_names_of_acquisitions(acquisition: str, contrast: str | None) -> None:
    assert contrast_of(acquisition) == contrast


@pytest.mark.parametrize("contrast", [*ACQUISITIONS, "T2*w"])
def test_a_written_contrast_is_read_back(contrast: str) -> None:
    assert contrast_of(acquisition_of(contrast)) == contrast
